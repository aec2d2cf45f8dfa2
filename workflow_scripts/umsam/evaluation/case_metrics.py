"""The tables ``metrics/{method}.csv``: one row from the files of a case, and reading them."""

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from umsam.data.volumes import read_volume
from umsam.errors import InputError
from umsam.evaluation.metrics import measure

log = logging.getLogger(__name__)

METRIC_COLUMNS = [
    "case",
    "split",
    "dsc",
    "assd_mm",
    "assd_voxel",
    "dsc_positive_slices",
    "flags",
    "seconds",
]


def case_name(path: str | Path) -> str:
    """Return the case in a path such as ``labels/{case}.nii.gz`` or ``sam_masks/{case}``."""
    return Path(path).name.removesuffix(".nii.gz").removesuffix(".csv")


def case_metrics(split: str, prediction_file: str | Path, label_file: str | Path) -> dict[str, Any]:
    """Compare a predicted volume with its label, and read its run time.

    Raises
    ------
    InputError
        The two volumes differ in shape.
    """
    prediction, label = read_volume(prediction_file), read_volume(label_file)
    if prediction.array.shape != label.array.shape:
        raise InputError(
            f"{prediction_file}: {prediction.array.shape} voxels (z, y, x), but the label "
            f"{label_file} has {label.array.shape}. Both belong to the same image: delete the "
            "prediction and run the workflow again."
        )
    agreement = measure(prediction.array, label.array, label.spacing)
    case = case_name(label_file)
    if agreement.flags:
        log.warning("%s: %s", case, agreement.flags)
    return {
        "case": case,
        "split": split,
        **asdict(agreement),
        "seconds": read_seconds(prediction_file),
    }


def read_seconds(prediction_file: str | Path) -> float | None:
    """Read the run time in seconds from the JSON file beside a prediction; None without a file."""
    sidecar = Path(str(prediction_file).removesuffix(".nii.gz") + ".json")
    return json.loads(sidecar.read_text())["seconds"] if sidecar.exists() else None


def read_metrics(paths: Iterable[str | Path]) -> dict[str, pd.DataFrame]:
    """Read the metrics by method, the stem of the file; a case may be called "NA"."""
    text_types = {"case": str, "split": str, "flags": str}
    missing = {column: [""] for column in METRIC_COLUMNS if column not in text_types}
    return {
        Path(path).stem: pd.read_csv(
            path, dtype=text_types, keep_default_na=False, na_values=missing
        )
        for path in paths
    }
