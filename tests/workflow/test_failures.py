"""A run in which a job fails, and the runs after it."""

import re

import pytest

RUN = ("--cores", "1", "--config", "run=phantom")
SHEET = "case\timage\tlabel\tsplit\n" + "".join(
    f"{case}\t{case}_T2w.nii.gz\t\ttrain\n" for case in ("site1-01", "site2-01")
)
TARGETS = ("--", *(f"results/phantom/rois/{case}.csv" for case in ("site1-01", "site2-01")))


@pytest.fixture
def finished(checkout):
    """Volumes, stand-ins of what SAM finds in them, and ROI tables that seem made of both."""
    (checkout.path / "resources/phantom.tsv").write_text(SHEET)
    checkout.snakemake(*RUN, "--", "results/phantom/volumes/site1-01.nii.gz",
                       "results/phantom/volumes/site2-01.nii.gz")  # fmt: skip
    for case in ("site1-01", "site2-01"):
        for name in (
            f"sam_masks/{case}/slice_000.npz",
            f"sam_features/{case}.npy",
            f"rois/{case}.csv",
        ):
            path = checkout.path / "results/phantom" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    checkout.snakemake("--touch", *RUN, *TARGETS)
    assert checkout.planned(*RUN, *TARGETS) == {}
    return checkout


def test_after_a_failed_job_the_same_command_tries_it_again(finished):
    image = finished.path / "data/phantom/site1-01_T2w.nii.gz"
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):
        text = finished.snakemake(*RUN, *TARGETS, check=False)
        assert re.search(r"Failed: preprocess phantom site1-01: .*site1-01_T2w\.nii\.gz", text)
    assert (finished.path / "results/phantom/rois/site1-01.csv").exists()
    image.write_bytes(whole)
    assert finished.planned(*RUN, *TARGETS) == {
        "preprocess": 1, "everything_mode": 1, "shape_priors": 1
    }  # fmt: skip
