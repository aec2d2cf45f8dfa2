"""Average symmetric surface distance (ASSD) between two binary masks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt, find_objects

Mask = NDArray[np.bool_]


def border(mask: Mask) -> Mask:
    """Voxels of the mask with a face neighbour outside it.

    What lies beyond the array is background, so a mask that is cut by the image's edge has a
    border there, and every voxel of a volume of one slice is border.
    """
    return mask & ~binary_erosion(mask)


def surface_distances(mask: Mask, other: Mask, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Distance of each border voxel of `mask` to the nearest border voxel of `other`.

    Both masks are not empty and have one shape; the distances are in the units of `spacing`.
    """
    return distance_transform_edt(~border(other), sampling=spacing)[border(mask)]


def assd(mask: Mask, other: Mask, spacing: Sequence[float]) -> float:
    """Mean over the surface distances of both directions, pooled.

    The masks are cropped to the box that holds them both first. Nothing is lost: outside it both
    are background, which is what `border` takes for granted there.

    Parameters
    ----------
    mask, other
        Boolean arrays of one shape (z, y, x).
    spacing
        Voxel size in mm (z, y, x), or ones for a distance in voxels.

    Raises
    ------
    ValueError
        The shapes differ, or a mask is empty (the distance is not defined then; `measure` of
        `umsam.evaluation.metrics` says what counts instead).
    """
    if mask.shape != other.shape:
        raise ValueError(f"masks of different shapes: {mask.shape} and {other.shape}")
    if not mask.any() or not other.any():
        raise ValueError("the surface distance of an empty mask is not defined")
    box = find_objects((mask | other).astype(np.uint8))[0]
    mask, other = mask[box].astype(bool), other[box].astype(bool)
    there = surface_distances(mask, other, spacing)
    back = surface_distances(other, mask, spacing)
    return float(np.concatenate([there, back]).mean())
