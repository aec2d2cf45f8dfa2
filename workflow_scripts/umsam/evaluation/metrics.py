"""How well a predicted volume agrees with its label: DSC and ASSD, empty masks included."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umsam.evaluation.dice import dice
from umsam.evaluation.surface_distance import assd

Mask = NDArray[np.bool_]

EMPTY_PREDICTION = "empty prediction"
EMPTY_LABEL = "empty label"
BOTH_EMPTY = "both empty"


@dataclass(frozen=True)
class Agreement:
    """DSC in 0..1; ASSD in mm and in voxels; `flags` is empty unless a mask was empty.

    `dsc_positive_slices` counts only the slices on which the label is not empty, and is NaN where
    there are none.
    """

    dsc: float
    assd_mm: float
    assd_voxel: float
    dsc_positive_slices: float
    flags: str


def measure(prediction: NDArray, label: NDArray, spacing: Sequence[float]) -> Agreement:
    """Compare two volumes [Z, Y, X] (non-zero is foreground) with voxels of `spacing` mm (z, y, x).

    Both empty: DSC 1, ASSD 0. One empty: DSC 0, ASSD = the image's diagonal, the largest distance
    that the image can hold, so that a miss never improves a mean.
    """
    if prediction.shape != label.shape:
        raise ValueError(f"prediction {prediction.shape} and label {label.shape} differ in shape")
    prediction, label = prediction > 0, label > 0
    shape = np.array(label.shape)
    match (bool(prediction.any()), bool(label.any())):
        case (True, True):
            flags = ""
            in_mm = assd(prediction, label, spacing)
            in_voxels = assd(prediction, label, (1.0,) * label.ndim)
        case (False, False):
            flags, in_mm, in_voxels = BOTH_EMPTY, 0.0, 0.0
        case (has_prediction, _):
            flags = EMPTY_LABEL if has_prediction else EMPTY_PREDICTION
            in_mm = float(np.linalg.norm(shape * np.asarray(spacing)))
            in_voxels = float(np.linalg.norm(shape))
    positive = label.any(axis=(1, 2))
    return Agreement(
        dsc=dice(prediction, label),
        assd_mm=in_mm,
        assd_voxel=in_voxels,
        dsc_positive_slices=(
            dice(prediction[positive], label[positive]) if positive.any() else float("nan")
        ),
        flags=flags,
    )
