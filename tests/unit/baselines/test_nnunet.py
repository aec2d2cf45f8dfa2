"""The export for nnU-Net passes nnU-Net's integrity check."""

import json
from multiprocessing import dummy

import numpy as np
import pytest
import SimpleITK as sitk

from umsam.baselines.nnunet import export_dataset

CASES = ("p-01", "p.02", "p_03")


def write(path, array, spacing=(0.6, 0.7, 3.6)):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((-40, 12, 7))
    image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))
    sitk.WriteImage(image, str(path))


@pytest.fixture
def exported(tmp_path):
    rng = np.random.default_rng(0)
    files = {"volumes": {}, "labels": {}}
    for name in files:
        (tmp_path / name).mkdir()
    for case in CASES:
        for name, array in (
            ("volumes", rng.random((4, 12, 10)).astype(np.float32)),
            ("labels", (rng.random((4, 12, 10)) > 0.5).astype(np.uint8)),
        ):
            files[name][case] = tmp_path / name / f"{case}.nii.gz"
            write(files[name][case], array)
    folder = tmp_path / "Dataset501_mine"
    folder.mkdir()
    export_dataset(folder, files["volumes"], files["labels"])
    return folder


@pytest.fixture
def verify(monkeypatch):
    """nnU-Net's check in threads, because each of its processes would start Python."""
    monkeypatch.setenv("nnUNet_raw", "/nowhere")
    from nnunetv2.experiment_planning import verify_dataset_integrity as module

    class Threads:
        get_context = staticmethod(lambda method: dummy)

    monkeypatch.setattr(module, "multiprocessing", Threads)
    return module.verify_dataset_integrity


@pytest.mark.filterwarnings("ignore")
def test_nnunet_accepts_the_export_without_a_warning(exported, verify, capsys):
    verify(str(exported), 1)
    output = capsys.readouterr().out
    assert "Done" in output
    assert not [word for word in ("Error", "Warning", "WARNING") if word in output]


@pytest.mark.filterwarnings("ignore")
def test_nnunets_check_detects_faults(exported, verify):
    write(exported / "labelsTr/p-01.nii.gz", np.full((4, 12, 10), 2, np.uint8))
    with pytest.raises(RuntimeError, match="unexpected labels"):
        verify(str(exported), 1)
    write(exported / "labelsTr/p-01.nii.gz", np.ones((4, 12, 10), np.uint8), (1, 1, 1))
    with pytest.raises(RuntimeError, match="errors"):
        verify(str(exported), 1)
    (exported / "labelsTr/p-01.nii.gz").unlink()
    with pytest.raises(AssertionError, match="p-01"):
        verify(str(exported), 1)


def test_images_are_copied_unchanged(exported):
    for case in CASES:
        source = exported.parent / f"volumes/{case}.nii.gz"
        assert (exported / f"imagesTr/{case}_0000.nii.gz").read_bytes() == source.read_bytes()
    assert json.loads((exported / "dataset.json").read_text())["numTraining"] == 3


def test_images_without_labels_are_refused(tmp_path):
    with pytest.raises(ValueError, match="same cases"):
        export_dataset(tmp_path, {"a": "a.nii.gz"}, {})
