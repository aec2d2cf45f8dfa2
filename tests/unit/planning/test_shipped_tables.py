"""The tables in resources/: sheets that read, phantoms that exist, checksums where known."""

from pathlib import Path

import pytest

from umsam.data.phantoms import CASE_NAME
from umsam.planning.remote_files import read_remote_files
from umsam.planning.sample_sheet import read_sample_sheet

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


def test_weights_are_pinned():
    files = read_remote_files(RESOURCES / "weights.tsv")
    assert set(files) == {f"sam_vit_{size}.pth" for size in "tblh"}
    assert all(file.sha256 and file.url.startswith("https://") for file in files.values())
