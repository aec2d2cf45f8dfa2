"""The tables in resources/: sheets that read, phantoms that exist, checksums where known."""

from pathlib import Path

import pytest

from umsam.data.phantoms import CASE_NAME
from umsam.planning.remote_files import read_remote_files
from umsam.planning.sample_sheet import read_sample_sheet
from umsam.planning.weights import read_registry

RESOURCES = Path(__file__).parents[3] / "resources"


@pytest.mark.parametrize("name", ["phantom", "phantom_area"])
def test_phantom_sheets(name):
    samples = read_sample_sheet(RESOURCES / f"{name}.tsv")
    assert all(CASE_NAME.fullmatch(sample.case) for sample in samples)
    assert all(sample.label for sample in samples)
    sites = {sample.case[:5] for sample in samples if sample.split == "train"}
    assert sites == {"site1", "site2", "site3", "site4"}
    assert {sample.split for sample in samples} == {"train", "val", "test"}


def test_the_files_of_the_fetal_sample_are_those_of_its_sheet():
    files = read_remote_files(RESOURCES / "fetal_sample_files.tsv")
    samples = read_sample_sheet(RESOURCES / "fetal_sample.tsv")
    named = {path.name for sample in samples for path in (sample.image, sample.label)}
    assert named == set(files)
    assert all(file.sha256 and file.bytes for file in files.values())


def test_every_row_of_the_weights_has_an_address_of_its_own():
    models = read_registry(RESOURCES / "weights.tsv").values()
    urls = [file.url for model in models for file in model.files.values()]
    assert len(urls) == len(set(urls)) > 10
    assert all(url.startswith("https://") for url in urls)
