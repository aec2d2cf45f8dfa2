"""A user's own volumes: other formats, no labels, one slice, nothing to find."""

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from umsam.data.phantoms import generate_case

pytestmark = pytest.mark.slow

OVERLAY = """
run: [mine]
datasets:
  mine:
    like: phantom
    samples: scans/samples.tsv
    training: {epochs: 1, variants: [triple, supervised]}
    clustering: {k: 2, sse_k: [2, 3]}
"""
UNLABELLED = {"a": ("a.mha", "train"), "b": ("b.nrrd", "train"), "flat": ("flat.mhd", "train")}
UNLABELLED["one"] = ("one.nii.gz", "test")


@pytest.fixture(scope="module")
def mine(shared_checkout):
    """Four volumes without labels: two ordinary ones, one of a single value, one of one slice."""
    folder = shared_checkout.path / "scans"
    folder.mkdir()
    image, _, spacing = generate_case("brain", "site1-01")
    arrays = {
        "a": image[3:7],
        "b": generate_case("brain", "site2-01")[0][3:7],
        "flat": np.zeros_like(image[:2]),
        "one": image[5:6],
    }
    for case, (name, _) in UNLABELLED.items():
        volume = sitk.GetImageFromArray(arrays[case].astype(np.float32))
        volume.SetSpacing(spacing[::-1])
        volume.SetOrigin((-40, 12.5, 7))
        sitk.WriteImage(volume, str(folder / name))
    rows = [f"{case}\t{name}\t{split}\n" for case, (name, split) in UNLABELLED.items()]
    (folder / "samples.tsv").write_text("case\timage\tsplit\n" + "".join(rows))
    (shared_checkout.path / "mine.yaml").write_text(OVERLAY)
    return shared_checkout


def test_volumes_without_labels_go_the_whole_way(mine):
    text = mine.snakemake("--cores", "2", "--configfile", "mine.yaml")
    results = mine.path / "results/mine"
    assert "mine: train case(s) a, b, flat have no label: Fig. 3a and FullySup skipped." in text
    assert "mine: test case(s) one have no label: Table 1 skipped." in text
    for case, (name, _) in UNLABELLED.items():
        source = sitk.ReadImage(str(mine.path / "scans" / name))
        mask = sitk.ReadImage(str(results / f"predictions/triple_seed0/{case}.nii.gz"))
        assert mask.GetSize() == source.GetSize()
        assert np.allclose(mask.GetOrigin(), source.GetOrigin())
    assert not sitk.GetArrayFromImage(
        sitk.ReadImage(str(results / "pseudo_labels/flat.nii.gz"))
    ).any()
    assert sorted(p.name for p in (results / "figures").glob("*.png")) == [
        "clusters.png",
        "fig2.png",
        "overview.png",
        "sse.png",
    ]
    assert [p.name for p in (results / "tables").iterdir()] == ["stages.csv"]


def test_a_target_that_needs_labels_says_so(mine):
    text = mine.snakemake("-n", "--configfile", "mine.yaml", "--", "table1", check=False)
    assert "table1 needs a labelled case in the split test, and mine has none" in text


def test_priors_that_reject_everything_name_the_one_to_relax(mine):
    results = mine.path / "results/mine"
    before = {p: p.read_bytes() for p in (results / "pseudo_labels").iterdir()}
    (mine.path / "tight.yaml").write_text(
        OVERLAY.replace(
            "like: phantom", "like: phantom\n    shape_priors: {v_min: 0.6, v_max: 0.7}"
        )
    )
    text = mine.snakemake("--cores", "2", "--configfile", "tight.yaml", check=False)
    assert "shape_priors.v_min" in text
    assert "ERROR" in text
    for case in UNLABELLED:  # the other steps of every case went on
        assert not pd.read_csv(results / f"rois/{case}.csv")["valid"].any()
    assert {p: p.read_bytes() for p in (results / "pseudo_labels").iterdir()} == before
