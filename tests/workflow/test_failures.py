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


def mine(checkout, rows):
    """A data set of the user's own, whose files are empty."""
    folder = checkout.path / "mine"
    folder.mkdir()
    (folder / "samples.tsv").write_text("case\timage\tlabel\tsplit\n" + "".join(rows))
    for name in {cell for row in rows for cell in row.split("\t")[1:3] if cell}:
        (folder / name).touch()
    (checkout.path / "mine.yaml").write_text(
        "run: [mine]\ndatasets: {mine: {like: promise12_laptop, samples: mine/samples.tsv}}\n"
    )
    for model in ("sam", "dino"):
        (checkout.path / f"resources/compact_{model}.pt").touch()
    return folder


def message(checkout, *arguments):
    """The one line that a plan ends in."""
    text = checkout.snakemake("-n", "--configfile", "mine.yaml", *arguments, check=False)
    assert "Traceback" not in text
    return text.strip().splitlines()[-1]


def test_files_that_are_not_there_are_named_all_at_once(checkout):
    folder = mine(checkout, ["a\ta.nii\ta_mask.nii\ttrain\n", "b\tb.nii\t\ttrain\n"])
    (folder / "a_mask.nii").unlink()
    (folder / "b.nii").unlink()
    (checkout.path / "results/mine/volumes").mkdir(parents=True)
    (checkout.path / "results/mine/volumes/b.nii.gz").touch()  # made of it once
    text = message(checkout, "--", "results/mine/volumes/b.nii.gz")
    assert "mine/samples.tsv: 2 of its 3 files do not exist" in text
    assert "a_mask.nii" in text
    assert "b.nii" in text
    assert "Correct the paths" in text


def test_a_checkpoint_that_is_not_there_is_named(checkout):
    mine(checkout, ["a\ta.nii\t\ttrain\n"])
    settings = (checkout.path / "mine.yaml").read_text()
    own = settings.replace("samples.tsv}", "samples.tsv, sam: {checkpoint: none.pth}}")
    (checkout.path / "mine.yaml").write_text(own)
    assert "sam.checkpoint: none.pth: no such file" in message(checkout)


def test_a_sheet_without_a_training_case_is_refused_before_anything_runs(checkout):
    mine(checkout, ["a\ta.nii\t\ttest\n"])
    text = checkout.snakemake("-n", "--configfile", "mine.yaml", check=False)
    assert "mine/samples.tsv: no case has the split train" in text


def test_a_mistake_in_the_sheet_is_one_line(checkout):
    mine(checkout, ["a\ta.nii\t\ttrain\n", "a\tb.nii\t\ttrain\n"])
    assert message(checkout).startswith("mine/samples.tsv, line 3: case 'a' is already on line 2")
