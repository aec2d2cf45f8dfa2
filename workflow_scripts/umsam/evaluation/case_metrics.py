"""One row of ``metrics/{method}.csv`` from the files of a case; and reading those tables back."""

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

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


def case_of(path: str | Path) -> str:
    """The case of a per-case file such as ``labels/{case}.nii.gz`` or ``sam_masks/{case}``."""
    return Path(path).name.removesuffix(".nii.gz").removesuffix(".csv")


def case_metrics(split: str, prediction_file: str | Path, label_file: str | Path) -> dict:
    """Compare a predicted volume with the case's label; time from the prediction's sidecar.

    Raises
    ------
    InputError
        The two volumes differ in shape.
    """
    prediction, label = read_volume(prediction_file), read_volume(label_file)
    if prediction.array.shape != label.array.shape:
        raise InputError(
            f"{prediction_file}: {prediction.array.shape} voxels (z, y, x), but the label "
            f"{label_file} has {label.array.shape}. Both come from the same image: delete the "
            "prediction, so that it is made again."
        )
    agreement = measure(prediction.array, label.array, label.spacing)
    case = case_of(label_file)
    if agreement.flags:
        log.warning("%s: %s", case, agreement.flags)
    return {
        "case": case,
        "split": split,
        **asdict(agreement),
        "seconds": sidecar_seconds(prediction_file),
    }


def sidecar_seconds(prediction_file: str | Path) -> float | None:
    """Seconds that the prediction took, from the JSON beside it; None without one."""
    sidecar = Path(str(prediction_file).removesuffix(".nii.gz") + ".json")
    return json.loads(sidecar.read_text())["seconds"] if sidecar.exists() else None


def read_metrics(paths: Iterable[str | Path]) -> dict[str, pd.DataFrame]:
    """Method (the file's stem) -> its metrics; case names and flags stay text, "NA" as well."""
    text = {"case": str, "split": str, "flags": str}
    empty = {column: [""] for column in METRIC_COLUMNS if column not in text}
    return {
        Path(path).stem: pd.read_csv(path, dtype=text, keep_default_na=False, na_values=empty)
        for path in paths
    }
