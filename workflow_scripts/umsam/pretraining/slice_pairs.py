"""Pairs of neighbouring slices of the user's own volumes, on which a DINO goes on learning.

An ROI that SAM finds on a slice, and again at its place on the next, is one thing seen twice. No
label says what it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from umsam.errors import InputError
from umsam.pretraining.dino_training import Source
from umsam.models.dino import Dino
from umsam.data.masks import read_slice_masks, slice_file
from umsam.pseudo_labels.pseudo_labels import pairwise_iou

SAME = 0.5
"""ROIs of neighbouring slices with this IoU are one thing."""
WINDOW = 16
"""Patches along a side of what a pair shows."""


@dataclass(frozen=True)
class CaseRois:
    """A volume [Z, H, W] in [0, 1], the rows of its table of ROIs that are valid, and the folder of
    SAM's masks."""

    volume: NDArray[np.floating]
    rois: pd.DataFrame
    masks: Path


def slice_pairs(cases: Sequence[CaseRois], dino: Dino) -> tuple[Source, int]:
    """A source of pairs, and how many it has: one for each valid ROI.

    A pair is a slice and one of its neighbours, each at the size at which DINO sees it, cut to
    `WINDOW` patches around the ROI. Their regions are the valid ROIs; of nested ones the innermost.

    Raises `InputError` if no case has a valid ROI.
    """
    places = [(number, row) for number, case in enumerate(cases) for row in range(len(case.rois))]
    if not places:
        raise InputError(
            "dino.adapt: no training slice has an ROI that shape_priors let pass, so there is "
            "nothing to learn from. Loosen shape_priors, or set dino.adapt to false."
        )

    window = WINDOW * dino.patch

    def source(number: int) -> tuple[np.ndarray, np.ndarray]:
        at, row = places[number]
        case = cases[at]
        roi = case.rois.iloc[row]
        z, depth = int(roi["slice"]), len(case.volume)
        neighbour = z + 1 if z + 1 < depth else max(0, z - 1)
        slices = np.stack([case.volume[z], case.volume[neighbour]])
        masks = [_masks(case, of) for of in (z, neighbour)]
        regions = np.stack(painted(*masks))
        seen, regions = _as_seen(dino, slices, regions)
        height, width = seen.shape[1:]
        centre = round(roi["y"] * height), round(roi["x"] * width)
        return cut(seen, centre, window, 0), cut(regions, centre, window, -1)

    return source, len(places)


def painted(
    masks: NDArray[np.bool_], others: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Region numbers [H, W] of two slices with the masks [N, H, W] and [M, H, W]; -1: no region.

    One of the others has the number of the mask that it overlaps most, from an IoU of `SAME`;
    otherwise one that is on no other slice.
    """
    numbers = np.arange(len(masks), len(masks) + len(others))
    if len(masks) and len(others):
        iou = pairwise_iou(others, masks)
        numbers = np.where(iou.max(axis=1) >= SAME, iou.argmax(axis=1), numbers)
    return _paint(masks, np.arange(len(masks))), _paint(others, numbers)


def cut(
    images: NDArray[np.generic], centre: tuple[int, int], side: int, fill: float
) -> NDArray[np.generic]:
    """The square of `side` px about a pixel of images [V, H, W]; `fill` where there is no image."""
    half = side // 2
    padded = np.pad(images, ((0, 0), (half, side), (half, side)), constant_values=fill)
    y, x = centre
    return padded[:, y : y + side, x : x + side]


def _masks(case: CaseRois, z: int) -> NDArray[np.bool_]:
    """The valid ROIs of a slice, [N, H, W]."""
    index = case.rois.loc[case.rois["slice"] == z, "index"].to_numpy()
    if not len(index):
        return np.zeros((0, *case.volume.shape[1:]), bool)
    return read_slice_masks(slice_file(case.masks, z)).masks[index]


def _paint(masks: NDArray[np.bool_], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    labels = np.full(masks.shape[1:], -1)
    for index in np.argsort(-masks.sum(axis=(1, 2)), kind="stable"):
        labels[masks[index]] = numbers[index]
    return labels


def _as_seen(
    dino: Dino, slices: NDArray[np.floating], regions: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Both, [V, H, W], at the size at which DINO sees a slice."""
    size = tuple(patches * dino.patch for patches in dino.grid(*slices.shape[1:]))
    images = torch.from_numpy(np.float32(slices))[:, None]
    images = F.interpolate(images, size=size, mode="bilinear", antialias=True)[:, 0]
    numbers = torch.from_numpy(regions)[:, None].float()
    numbers = F.interpolate(numbers, size=size, mode="nearest-exact")[:, 0]
    return images.numpy(), numbers.long().numpy()
