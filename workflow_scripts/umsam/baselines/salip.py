"""SaLIP: SAM's everything mode proposes, CLIP disposes, SAM segments again in the chosen box.

Aleem et al., "Test-time adaptation with SaLIP: a cascade of SAM and CLIP for zero-shot medical
image segmentation", 2024. Their search of SAM's settings on a few labelled images is left out; the
settings of everything mode are those of the data set.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from umsam.data.intensity import to_rgb_uint8
from umsam.pseudo_labels.masks import SliceMasks

LONGEST = 3  # length over width of a crop; CLIP's preprocessing looks at its middle square alone

Box = tuple[int, int, int, int]
Similarity = Callable[[list[NDArray[np.uint8]]], NDArray[np.floating]]
Segment = Callable[[NDArray[np.uint8], Box], NDArray[np.bool_]]


def salip(
    volume: NDArray[np.floating],
    proposals: Iterable[SliceMasks],
    positive: NDArray[np.bool_],
    max_area: float,
    similarity: Similarity,
    segment: Segment,
) -> NDArray[np.bool_]:
    """Segmentation of a volume [Z, H, W]; slices without the organ or a proposal stay empty.

    Parameters
    ----------
    proposals
        Everything mode's masks of each slice, in order.
    positive
        [Z], the slices that show the organ: SaLIP is told.
    max_area
        Proposals of more than this share of the slice are left out.
    similarity
        Crops, uint8 [h, w, 3] -> how well each fits the descriptions, [N].
    segment
        Slice, uint8 [H, W, 3], and box (x, y of the first and last corner) -> mask [H, W].
    """
    result = np.zeros(volume.shape, bool)
    for z, masks in enumerate(proposals):
        if not positive[z]:
            continue
        image = to_rgb_uint8(volume[z])
        small = np.flatnonzero((masks.area > 0) & (masks.area < max_area * volume[z].size))
        if len(small):
            crops = [crop_on_black(image, masks.masks[index]) for index in small]
            best = small[int(np.argmax(similarity(crops)))]
            result[z] = segment(image, bounding_box(masks.masks[best]))
    return result


def bounding_box(mask: NDArray[np.bool_]) -> Box:
    """x and y of the first column and row of a mask [H, W], then of the last."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def crop_on_black(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The part of an image [H, W, 3] inside a mask, cut out along the box, black around the mask.

    A crop much longer than wide loses its ends, evenly: CLIP resizes the short side and then looks
    at the middle, and a line across the slice would become an image of 100,000 columns first.
    """
    x0, y0, x1, y1 = bounding_box(mask)
    crop = np.where(mask[..., None], image, 0)[y0 : y1 + 1, x0 : x1 + 1]
    limit = LONGEST * min(crop.shape[:2])
    cut_y, cut_x = (max(0, side - limit) // 2 for side in crop.shape[:2])
    return crop[cut_y : crop.shape[0] - cut_y, cut_x : crop.shape[1] - cut_x]
