"""ROI pooling (eq. 4): the feature of an ROI is the mean of the feature map over its pixels."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from umsam.data.field_of_view import View
from umsam.data.masks import read_slice_masks, slice_file
from umsam.files import atomic_write


def overlap(patches: int, pixels: int) -> NDArray[np.float64]:
    """The share of each pixel that lies in each patch, along one axis: [patches, pixels].

    Patches and pixels tile the same length edge to edge, so every column sums to 1.
    """
    patch_edges = np.arange(patches + 1) * (pixels / patches)
    pixel_edges = np.arange(pixels + 1)
    upper = np.minimum(patch_edges[1:, None], pixel_edges[None, 1:])
    lower = np.maximum(patch_edges[:-1, None], pixel_edges[None, :-1])
    return np.clip(upper - lower, 0.0, 1.0)


def pixels_in_patches(masks: NDArray, h: int, w: int) -> NDArray[np.float64]:
    """The number of pixels of each mask [R, H, W] in each of h x w patches: [R, h, w].

    For images, the sum of the pixel values in each patch.
    """
    _, height, width = masks.shape
    return overlap(h, height) @ masks.astype(np.float64) @ overlap(w, width).T


def pad_to_square(masks: NDArray) -> NDArray:
    """Masks or images [R, H, W], padded to the square of side max(H, W) that SAM embeds."""
    _, height, width = masks.shape
    side = max(height, width)
    return np.pad(masks, ((0, 0), (0, side - height), (0, side - width)))


def rims(masks: NDArray[np.bool_], width: float) -> NDArray[np.bool_]:
    """The surroundings of each mask [R, H, W], none of which may be empty: another [R, H, W].

    A rim holds the pixels outside of the mask whose distance from it is at most `width` times the
    mask's side, the root of its area. Part of an organ looks like the whole organ, but its
    surroundings differ. A mask that leaves no such pixel is its own rim.
    """
    result = np.zeros_like(masks)
    for mask, rim in zip(masks, result, strict=True):
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
    return result


def mean_over_masks(
    feature_map: NDArray[np.floating], masks: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Mean of the feature map over each mask.

    A pixel has the feature of its patch; a pixel across several patches has their mean, weighted by
    overlap. So an ROI smaller than a patch has a feature too. If the patches divide the slice
    evenly, the result is the plain mean over the pixels of the map enlarged to the slice.

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


def pool_roi_features(
    maps: NDArray[np.floating],
    rois: pd.DataFrame,
    folder: str | Path,
    rim_width: float = 0.0,
    view: View | None = None,
) -> NDArray[np.float32]:
    """Features of the ROIs of a volume, [N, D].

    Parameters
    ----------
    maps
        [Z, D, h, w]; may be memory-mapped: only slices with an ROI are read.
    rois
        Columns slice and index, sorted by both.
    folder
        The masks of the case.
    rim_width
        0: pooled over the ROIs; otherwise over rims of this width (`rims`).
    view
        What the maps cover, padded to a square; None: the whole slice.
    """
    features = [np.zeros((0, maps.shape[1]), np.float32)]
    for z, of_slice in rois.groupby("slice"):
        masks = read_slice_masks(slice_file(folder, z)).masks[of_slice["index"].to_numpy()]
        if view is not None:
            masks = masks[:, *view.window]
        if rim_width:
            masks = rims(masks, rim_width)
        covered = masks if view is None else pad_to_square(masks)
        features.append(mean_over_masks(maps[z].astype(np.float32), covered))
    return np.concatenate(features)


def concatenate_features(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Features [N, D] from several maps side by side, each scaled to length 1 so that maps count
    equally.

    Features from a single map stay as they are.
    """
    if len(parts) == 1:
        return parts[0]
    return np.hstack(
        [
            part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), np.float32(1e-9))
            for part in parts
        ]
    )


def write_roi_features(path: str | Path, rois: pd.DataFrame, features: NDArray[np.float32]) -> None:
    """Write the features [N, D] of ROIs with their slice and index as one compressed .npz."""
    with atomic_write(path) as temporary:
        np.savez_compressed(
            temporary,
            features=features,
            slice=rois["slice"].to_numpy(np.int64),
            index=rois["index"].to_numpy(np.int64),
        )


def read_roi_features(
    path: str | Path,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What `write_roi_features` wrote: features [N, D], and slice and index [N, 2]. Never
    unpickles."""
    with np.load(path, allow_pickle=False) as file:
        return file["features"], np.stack([file["slice"], file["index"]], axis=1)
