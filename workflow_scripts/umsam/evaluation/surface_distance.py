"""Average symmetric surface distance (ASSD) between two binary masks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt, find_objects

Mask = NDArray[np.bool_]


def border(mask: Mask) -> Mask:
    """Return the voxels of the mask with a face neighbour outside it.

    Everything beyond the array is background. A mask at the edge of the image therefore has a
    border there, and every voxel of a single-slice volume is border.
    """
    return mask & ~binary_erosion(mask)


def surface_distances(mask: Mask, other: Mask, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Compute the distance of each border voxel of `mask` to the nearest one of `other`.

    Both masks have the same shape and are not empty. The distances have the unit of `spacing`.
    """
    return distance_transform_edt(~border(other), sampling=spacing)[border(mask)]


def assd(mask: Mask, other: Mask, spacing: Sequence[float]) -> float:
    """Average the surface distances of both directions together (ASSD).

    The masks are first cropped to their common bounding box. This does not change the result,
    because both masks are background outside it, as `border` assumes.

    Parameters
    ----------
    mask, other
        Boolean arrays of the same shape (z, y, x).
    spacing
        Voxel size in mm (z, y, x), or ones for a distance in voxels.

    Raises
    ------
    ValueError
        The shapes differ, or a mask is empty; `umsam.evaluation.metrics.measure` handles empty
        masks.
    """
    if mask.shape != other.shape:
        raise ValueError(f"masks of different shapes: {mask.shape} and {other.shape}")
    if not mask.any() or not other.any():
        raise ValueError("the surface distance of an empty mask is not defined")
    box = find_objects((mask | other).astype(np.uint8))[0]
    mask, other = mask[box].astype(bool), other[box].astype(bool)
    forward = surface_distances(mask, other, spacing)
    backward = surface_distances(other, mask, spacing)
    return float(np.concatenate([forward, backward]).mean())
