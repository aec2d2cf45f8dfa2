"""SaLIP: SAM's everything mode proposes masks, CLIP selects one, SAM segments its box.

Aleem et al., "Test-time adaptation with SaLIP: a cascade of SAM and CLIP for zero-shot medical
image segmentation", 2024. The authors tune SAM's settings on a few labelled images; this
implementation uses the settings of the data set.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from umsam.baselines.prompts import scaled_box
from umsam.baselines.sam_prompts import Predictor, segment
from umsam.data.intensity import to_rgb_uint8
from umsam.data.masks import SliceMasks

LONGEST = 3  # ratio of the sides of a crop; CLIP's preprocessing uses only the central square


def salip(
    predictor: Predictor,
    similarity: Callable[[list[NDArray[np.uint8]]], NDArray[np.floating]],
    volume: NDArray[np.floating],
    positive: NDArray[np.bool_],
    proposals: Iterable[SliceMasks],
    max_area: float,
) -> NDArray[np.bool_]:
    """The mask [Z, H, W] of the target; slices without the target or a proposal stay empty.

    Parameters
    ----------
    predictor
        SAM.
    similarity
        CLIP: maps N crops, uint8 [h, w, 3], to their similarity to the descriptions, [N].
    volume
        [Z, H, W], intensities in [0, 1].
    positive
        [Z]: which slices show the target. SaLIP needs to know them.
    proposals
        Masks of everything mode for each slice, in order.
    max_area
        Proposals that cover this share of the slice or more are ignored.
    """
    mask = np.zeros(volume.shape, bool)
    for z, candidates in enumerate(proposals):
        area = candidates.area
        small = np.flatnonzero((area > 0) & (area < max_area * volume[z].size))
        if not positive[z] or not len(small):
            continue
        image = to_rgb_uint8(volume[z])
        crops = [crop_on_black(image, candidates.masks[index]) for index in small]
        best = small[int(np.argmax(similarity(crops)))]
        box = np.array(scaled_box(candidates.masks[best], 1.0))
        mask[z] = segment(predictor, image, box=box)
    return mask


def crop_on_black(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Crop an image [H, W, 3] to the box of a mask, with black pixels outside the mask.

    Both ends of a very long crop are cut off. CLIP scales the short side to a fixed length and then
    uses only the centre, so the crop of a line across the slice would have 100,000 columns.
    """
    x0, y0, x1, y1 = map(int, scaled_box(mask, 1.0))
    crop = np.where(mask[..., None], image, 0)[y0:y1, x0:x1]
    limit = LONGEST * min(crop.shape[:2])
    cut_y, cut_x = (max(0, side - limit) // 2 for side in crop.shape[:2])
    return crop[cut_y : crop.shape[0] - cut_y, cut_x : crop.shape[1] - cut_x]
