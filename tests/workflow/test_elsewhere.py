"""The workflow used from another folder: by --snakefile, by --directory, and as a module.

Each way runs the stages up to the shape priors on one small volume, with the shipped model.
"""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from umsam.data.phantoms import generate_case

MINE = """
run: [mine]
datasets:
  mine:
    like: phantom
    samples: scans/samples.tsv
    sam: {points_per_side: 4}
"""
MODULE = """
configfile: "mine.yaml"


module umsam:
    snakefile:
        "{snakefile}"
    config:
        config


use rule * from umsam as umsam_*


rule areas:
    input:
        "results/mine/rois/a.csv",
    output:
        "areas.txt",
    run:
        import pandas as pd
        pd.read_csv(input[0])["area_mm2"].to_csv(output[0])
"""
ROIS = "results/mine/rois/a.csv"


@pytest.fixture
def study(tmp_path):
    """A folder with two slices of a phantom, a sheet and a configuration."""
    folder = tmp_path / "study"
    (folder / "scans").mkdir(parents=True)
    image, _, spacing = generate_case("brain", "site1-01")
    volume = sitk.GetImageFromArray(np.asarray(image[4:6], np.float32))
    volume.SetSpacing(spacing[::-1])
    sitk.WriteImage(volume, str(folder / "scans/a.nii.gz"))
    (folder / "scans/samples.tsv").write_text("case\timage\tsplit\na\ta.nii.gz\ttrain\n")
    (folder / "mine.yaml").write_text(MINE)
    return folder


def run(folder, *arguments):
    """Snakemake, called in `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def check_results(study, checkout):
    assert len(pd.read_csv(study / ROIS)) > 0
    assert not (checkout / "results").exists()
    assert not (checkout / "logs").exists()


def test_the_snakefile_of_a_checkout_runs_in_another_folder(study, checkout):
    snakefile = checkout.path / "Snakefile"
    arguments = ("--snakefile", snakefile, "--configfile", "mine.yaml", "--", ROIS)
    text = run(study, *arguments)
    check_results(study, checkout.path)
    assert "profiles/default" in text  # the checkout's own profile holds
    assert "Nothing to be done" in run(study, *arguments)


def test_a_checkout_writes_into_another_directory(study, checkout):
    configuration = study / "mine.yaml"
    arguments = ("--directory", study, "--configfile", configuration, "--", ROIS)
    run(checkout.path, *arguments)
    check_results(study, checkout.path)
    assert "Nothing to be done" in run(checkout.path, *arguments)


def test_a_checkout_is_a_module_of_another_workflow(study, checkout):
    (study / "Snakefile").write_text(MODULE.format(snakefile=checkout.path / "Snakefile"))
    run(study, "areas.txt")
    check_results(study, checkout.path)
    assert len(pd.read_csv(study / "areas.txt")) == len(pd.read_csv(study / ROIS))


@pytest.mark.parametrize("prefix", ["", " as umsam_*"])
def test_all_rules_of_the_module_can_be_planned(study, checkout, prefix):
    """Every target of the data set, with and without a prefix for the names of rules."""
    text = MODULE.format(snakefile=checkout.path / "Snakefile")
    (study / "Snakefile").write_text(text.replace(" as umsam_*", prefix))
    planned = run(study, "--dry-run", prefix.removeprefix(" as ").replace("*", "") + "all")
    for rule in ("preprocess", "train", "cluster_figure", "provenance"):
        assert rule in planned


def test_the_checkpoint_of_promise12_works_in_a_module(study, checkout, monkeypatch):
    """A rule writes the sheet, and only then the cases are known."""
    monkeypatch.setenv("UMSAM_DATA_ROOT", str(study / "copy"))
    folder = study / "copy/promise12/training_data"
    folder.mkdir(parents=True)
    for number in range(10):
        volume = sitk.GetImageFromArray(np.zeros((2, 32, 32), np.float32))
        for name in (f"Case{number:02d}.mhd", f"Case{number:02d}_segmentation.mhd"):
            sitk.WriteImage(volume, str(folder / name))
    (study / "mine.yaml").write_text("run: [promise12_laptop]\n")
    (study / "Snakefile").write_text(MODULE.format(snakefile=checkout.path / "Snakefile"))
    assert "everything_mode" not in run(study, "--dry-run", "umsam_pseudo_labels")
    run(study, "data/promise12/samples.tsv")
    text = run(study, "--dry-run", "--quiet", "rules", "--", "umsam_pseudo_labels")
    assert ["umsam_everything_mode", "10"] in [line.split() for line in text.splitlines()]
