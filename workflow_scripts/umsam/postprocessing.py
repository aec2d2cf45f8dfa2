"""Postprocessing of volumes whose slices were segmented one by one."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, label


def smooth_z(values: NDArray[np.float32], std: float, spacing: float) -> NDArray[np.float32]:
    """Smooth the logits or probabilities [Z, ...] of a volume with a Gaussian along z.

    A slice with weak evidence then follows its neighbours. The first and the last slice are
    repeated beyond the volume.

    Parameters
    ----------
    values
        Logits or probabilities, [Z, ...].
    std
        Standard deviation of the Gaussian in mm; 0 returns `values` unchanged.
    spacing
        Distance between slices in mm.
    """
    return gaussian_filter1d(values, std / spacing, axis=0, mode="nearest") if std else values


def largest_component(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keep the largest 6-connected component of a 3D mask; an empty mask stays empty."""
    components, count = label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(components.ravel())
    return (components == sizes[1:].argmax() + 1).astype(np.uint8)
