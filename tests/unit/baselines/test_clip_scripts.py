"""The scripts of SaLIP and MedCLIP-SAM on a volume, with the compact SAM and small CLIPs."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from stand_ins import Named

from umsam.data.masks import SliceMasks, no_masks, slice_file, write_slice_masks
from umsam.data.phantoms import generate_case
from umsam.data.volumes import Volume, read_volume, write_volume

pytestmark = pytest.mark.usefixtures("logging_as_before")

ROOT = Path(__file__).parents[3]
SPACING = (3.0, 0.5, 0.75)
CRF = {"iterations": 1, "gaussian_sigma": 3, "gaussian_weight": 3, "bilateral_sigma": 60,
       "bilateral_grey_sigma": 3, "bilateral_weight": 5}  # fmt: skip


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv("UMSAM_DEVICE", "cpu")


@pytest.fixture
def case(tmp_path):
    """Three slices of a phantom: the target in the last two, proposals for the first two."""
    array, label, _ = generate_case("brain", "site1-1")
    first = int(label.any(axis=(1, 2)).argmax())
    array, label = array[first - 1 : first + 2], label[first - 1 : first + 2] > 0
    array = ((array - array.min()) / np.ptp(array)).astype(np.float32)
    like = Volume(array, SPACING, origin=(1.0, -2.0, 3.0))
    write_volume(tmp_path / "volume.nii.gz", array, like)
    write_volume(tmp_path / "label.nii.gz", label, like)
    masks = np.stack([label[1], np.roll(label[1], 20, axis=1)])
    proposals = SliceMasks(masks, np.ones(2, np.float32), np.ones(2, np.float32),
                           np.zeros((2, 4), np.int32), np.zeros((2, 2), np.float32))  # fmt: skip
    for z, masks in enumerate([proposals, proposals, no_masks(*label.shape[1:])]):
        write_slice_masks(slice_file(tmp_path / "masks", z), masks)
    return tmp_path


def run(script, folder, weights, checksums, settings, **texts):
    """Run a script; returns the prediction and the log."""
    output = folder / "predictions"
    snakemake = SimpleNamespace(
        input=Named(
            volume=folder / "volume.nii.gz",
            label=folder / "label.nii.gz",
            masks=folder / "masks",
            descriptions=ROOT / "resources/descriptions/fetal_brain.yaml",
            sam_weights=ROOT / "resources/compact_sam.pt",
            weights=[str(weights / file) for file in checksums],
            **texts,
        ),
        output=Named(mask=output / "a.nii.gz", time=output / "a.json"),
        params=Named(
            sam={"model": "compact", "sha256": None},
            settings=settings,
            sha256=checksums,
            text_sha256={"vocab.txt": None},
        ),
        wildcards=["a"],
        threads=1,
        log=[str(folder / "a.log")],
        rule=script,
    )
    runpy.run_path(
        str(ROOT / f"workflow_scripts/{script}.py"), init_globals={"snakemake": snakemake}
    )
    result = read_volume(output / "a.nii.gz")
    assert result.spacing == pytest.approx(SPACING)
    assert result.origin == (1.0, -2.0, 3.0)
    time = json.loads((output / "a.json").read_text())
    assert time["seconds"] > 0
    assert time["positive_slices"] == 2
    return result.array, (folder / "a.log").read_text()


def test_salip(case, clip_folder):
    files = dict.fromkeys(["config.json", "model.safetensors"])
    settings = {"max_area": 0.25, "batch_size": 4}
    mask, log = run("salip", case, clip_folder, files, settings)
    assert mask.any(axis=(1, 2)).tolist() == [False, True, False]
    assert "target in 2 slices, mask in 1" in log


def test_medclip_sam(case, biomedclip_folder):
    files = dict.fromkeys(["open_clip_config.json", "open_clip_pytorch_model.bin"])
    settings = {"channels": 4, "batch_size": 4, "crf": CRF}
    text = [str(biomedclip_folder / "text/vocab.txt")]
    mask, log = run("medclip_sam", case, biomedclip_folder, files, settings, text_weights=text)
    assert not mask[0].any()
    assert mask[1:].any()
    assert "target in 2 of 3 slices" in log


def test_weights_with_another_checksum_are_not_loaded(case, clip_folder, capsys):
    with pytest.raises(SystemExit):
        run("salip", case, clip_folder, {"model.safetensors": "0" * 64}, {})
    log = (case / "a.log").read_text()
    assert "baselines.weights.clip.sha256[model.safetensors] states 0000" in log
    assert "Traceback" not in log
    assert not (case / "predictions").exists()
