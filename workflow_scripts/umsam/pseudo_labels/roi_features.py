"""ROI pooling (eq. 4): the feature of an ROI is the mean of the feature map over its pixels."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from umsam.data.field_of_view import View
from umsam.data.masks import read_slice_masks, slice_file


def overlap(patches: int, pixels: int) -> NDArray[np.float64]:
    """How much of each pixel lies in each patch, along one axis: [patches, pixels].

    Both tile the same length edge to edge, so that every column sums to 1.
    """
    patch_edges = np.arange(patches + 1) * (pixels / patches)
    pixel_edges = np.arange(pixels + 1)
    upper = np.minimum(patch_edges[1:, None], pixel_edges[None, 1:])
    lower = np.maximum(patch_edges[:-1, None], pixel_edges[None, :-1])
    return np.clip(upper - lower, 0.0, 1.0)


def pixels_in_patches(masks: NDArray, h: int, w: int) -> NDArray[np.float64]:
    """How many pixels of each of the masks [R, H, W] lie in each of h x w patches: [R, h, w].

    Of images, the sum of their pixels there.
    """
    _, height, width = masks.shape
    return overlap(h, height) @ masks.astype(np.float64) @ overlap(w, width).T


def in_square(masks: NDArray) -> NDArray:
    """Masks or images [R, H, W] of a view padded to the square of side max(H, W) SAM embeds."""
    _, height, width = masks.shape
    side = max(height, width)
    return np.pad(masks, ((0, 0), (0, side - height), (0, side - width)))


def rims(masks: NDArray[np.bool_], width: float) -> NDArray[np.bool_]:
    """What lies around each of the masks [R, H, W], none of them empty: another [R, H, W].

    The pixels outside of a mask whose distance from it is at most `width` times its side, the root
    of its area. A part of an organ looks as the whole of it does; what tells them apart is around
    them. A mask that leaves no such pixel is its own rim.
    """
    found = np.zeros_like(masks)
    for mask, rim in zip(masks, found, strict=True):
        reach = max(1.0, width * math.sqrt(np.count_nonzero(mask)))
        window = tuple(
            slice(max(0, along[0] - math.floor(reach)), along[-1] + math.floor(reach) + 1)
            for along in (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        )
        inside = mask[window]
        distance = distance_transform_edt(~inside)
        rim[window] = ~inside & (distance <= reach)
        if not rim.any():
            rim[:] = mask
    return found


def roi_features(
    feature_map: NDArray[np.floating], masks: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Mean of the feature map over each mask.

    A pixel takes the feature of the patch it lies in, or the mean of those it straddles, weighted
    by overlap. So an ROI smaller than a patch has a feature too, and where the patches divide the
    slice evenly this is the plain mean over the pixels of the map enlarged to the slice.

    Parameters
    ----------
    feature_map
        [D, h, w], covering the slice edge to edge.
    masks
        [R, H, W], none of them empty.

    Returns
    -------
    float32 [R, D].
    """
    dimension, h, w = feature_map.shape
    rois = len(masks)
    if rois == 0:
        return np.zeros((0, dimension), np.float32)
    weights = pixels_in_patches(masks, h, w).reshape(rois, h * w)
    area = weights.sum(axis=1, keepdims=True)
    if not area.all():
        raise ValueError("an empty mask has no feature")
    return (weights / area @ feature_map.reshape(dimension, h * w).T).astype(np.float32)


def pooled(
    maps: Iterable[NDArray[np.floating]],
    length: int,
    rois: pd.DataFrame,
    folder: str | Path,
    rim: float,
    view: View | None = None,
) -> NDArray[np.float32]:
    """Features of the ROIs of a volume, [N, D].

    Parameters
    ----------
    maps
        A map [D, h, w] for each slice that has an ROI, in order.
    length
        D.
    rois
        Columns slice and index, sorted by both.
    folder
        The case's masks.
    rim
        0: pooled over the ROIs; otherwise over rims of this width (`rims`).
    view
        What the maps cover, padded to a square; None: the slice.
    """
    found = [np.zeros((0, length), np.float32)]
    for (z, of_slice), feature_map in zip(rois.groupby("slice"), maps, strict=True):
        masks = read_slice_masks(slice_file(folder, z)).masks[of_slice["index"].to_numpy()]
        if view is not None:
            masks = masks[:, *view.window]
        if rim:
            masks = rims(masks, rim)
        found.append(roi_features(feature_map, masks if view is None else in_square(masks)))
    return np.concatenate(found)


def joined(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Features [N, D] from several maps side by side, each of length 1 so that they count alike.

    From one map they stay as they are.
    """
    if len(parts) == 1:
        return parts[0]
    return np.hstack(
        [
            part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), np.float32(1e-9))
            for part in parts
        ]
    )
