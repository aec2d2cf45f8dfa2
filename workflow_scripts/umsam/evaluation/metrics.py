"""DSC and ASSD of a predicted volume, including empty masks."""

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
    """The agreement of a prediction with its label.

    Attributes
    ----------
    dsc
        DSC of the volume, 0 to 1.
    assd_mm, assd_voxel
        ASSD in mm and in voxels.
    dsc_positive_slices
        DSC over the slices whose label is not empty; NaN if there are none.
    flags
        Names the empty masks; empty if there are none.
    """

    dsc: float
    assd_mm: float
    assd_voxel: float
    dsc_positive_slices: float
    flags: str


def measure(prediction: NDArray, label: NDArray, spacing: Sequence[float]) -> Agreement:
    """Compare two volumes.

    If both are empty, the DSC is 1 and the ASSD is 0. If one is empty, the DSC is 0 and the ASSD is
    the diagonal of the image, the largest possible distance, so that a miss never improves a mean.

    Parameters
    ----------
    prediction, label
        [Z, Y, X]; values above 0 are foreground.
    spacing
        Voxel size in mm (z, y, x).
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
