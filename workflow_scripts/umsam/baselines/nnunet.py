"""nnU-Net v2, a second fully supervised method: export of a data set, training, prediction.

Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image
segmentation", 2021. The package nnunetv2 is optional; the export does not need it.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umsam.devices import restrict_to_device
from umsam.errors import InputError

log = logging.getLogger(__name__)

ENDING = ".nii.gz"


def export_dataset(
    folder: Path,
    images: Mapping[str, str | Path],
    labels: Mapping[str, str | Path],
) -> None:
    """Copy a data set into nnU-Net's raw format: imagesTr, labelsTr, dataset.json.

    Parameters
    ----------
    folder
        An existing, empty folder.
    images, labels
        NIfTI files of the training cases by case, the same cases for both; labels are 0 and 1.

    Raises
    ------
    ValueError
        Images and labels do not belong to the same cases.
    """
    if images.keys() != labels.keys():
        raise ValueError("images and labels do not belong to the same cases")
    for name, files, channel in (
        ("imagesTr", images, "_0000"),
        ("labelsTr", labels, ""),
    ):
        (folder / name).mkdir()
        for case, source in files.items():
            shutil.copyfile(source, folder / name / f"{case}{channel}{ENDING}")
    description = {
        "channel_names": {"0": "MRI"},  # any name except CT means z-scores per volume
        "labels": {"background": 0, "target": 1},
        "numTraining": len(images),
        "file_ending": ENDING,
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=2) + "\n")


def train_nnunet(
    raw: Path, model: Path, configuration: str, trainer: str, device: str, processes: int
) -> None:
    """Plan, preprocess and train on all training cases.

    Parameters
    ----------
    raw
        A folder made by `export_dataset`, with the name that nnU-Net requires: DatasetNNN_name.
    model
        An existing, empty folder that receives nnU-Net's model folder.
    configuration, trainer
        Names in nnU-Net, such as 2d or 3d_fullres; the trainer determines the number of epochs.
    device
        ``cpu`` or ``cuda:N``.
    processes
        Number of worker processes.

    Raises
    ------
    InputError
        nnU-Net is not installed, or one of its commands failed; the log holds its output.
    """
    with tempfile.TemporaryDirectory(dir=model.parent, prefix=".~nnunet~") as work:
        places = {
            "nnUNet_raw": str(raw.parent.resolve()),
            "nnUNet_preprocessed": f"{work}/preprocessed",
            "nnUNet_results": f"{work}/results",
        }
        number = raw.name.removeprefix("Dataset").split("_")[0]
        workers = str(processes)
        _run(
            [
                *("nnUNetv2_plan_and_preprocess", "-d", number, "-c", configuration),
                *("-npfp", workers, "-np", workers, "--verify_dataset_integrity"),
            ],
            places,
        )
        kind = device.split(":")[0]  # the command line accepts no device number
        _run(
            ["nnUNetv2_train", number, configuration, "all", "-tr", trainer, "-device", kind],
            places | restrict_to_device(device) | {"nnUNet_n_proc_DA": workers},
        )
        trained = Path(work) / "results" / raw.name
        folders = list(trained.glob(f"{trainer}__*__{configuration}"))
        if len(folders) != 1 or not (folders[0] / "fold_all/checkpoint_final.pth").is_file():
            raise InputError(
                "nnU-Net ended without a final checkpoint. Its output above states the reason; "
                "correct it and run again."
            )
        shutil.copytree(folders[0], model, dirs_exist_ok=True)


def load_nnunet(
    model: str | Path, device: str
) -> Callable[[NDArray[np.floating], Sequence[float]], NDArray[np.bool_]]:
    """A function that maps a volume [Z, Y, X] and its spacing (z, y, x) to a mask [Z, Y, X]."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        device=torch.device(device),
        perform_everything_on_device=device != "cpu",
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(str(model), ("all",), "checkpoint_final.pth")

    def predict(volume: NDArray[np.floating], spacing: Sequence[float]) -> NDArray[np.bool_]:
        image = np.ascontiguousarray(volume, np.float32)[None]
        return predictor.predict_single_npy_array(image, {"spacing": list(spacing)}) > 0

    return predict


def _run(command: list[str], places: Mapping[str, str]) -> None:
    """Run one of nnU-Net's commands and log its output."""
    program = Path(sys.executable).with_name(command[0])
    if not program.is_file():
        raise InputError(f"{program} does not exist. Install nnunetv2 into this environment.")
    log.info("%s", " ".join(command))
    done = subprocess.run(
        [str(program), *command[1:]],
        env={**os.environ, **places},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log.info("%s", done.stdout)
    if done.returncode:
        raise InputError(
            f"{command[0]} failed with exit code {done.returncode}. Its output above states the "
            "reason; correct it and run again."
        )
