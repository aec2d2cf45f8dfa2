"""SaLIP: SAM's everything mode proposes, CLIP disposes, SAM segments again in the chosen box.

Aleem et al., "Test-time adaptation with SaLIP: a cascade of SAM and CLIP for zero-shot medical
image segmentation", 2024. Their search of SAM's settings on a few labelled images is left out; the
settings of everything mode are those of the data set.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from umsam.baselines.prompts import scaled_box
from umsam.baselines.sam_prompts import Predictor, segment
from umsam.data.intensity import to_rgb_uint8
from umsam.data.masks import SliceMasks

LONGEST = 3  # length over width of a crop; CLIP's preprocessing looks at its middle square alone


def salip(
    predictor: Predictor,
    similarity: Callable[[list[NDArray[np.uint8]]], NDArray[np.floating]],
    volume: NDArray[np.floating],
    positive: NDArray[np.bool_],
    proposals: Iterable[SliceMasks],
    max_area: float,
) -> NDArray[np.bool_]:
    """Segmentation of a volume [Z, H, W]; slices without the organ or a proposal stay empty.

    Parameters
    ----------
    predictor
        SAM.
    similarity
        CLIP: crops, uint8 [h, w, 3] -> how well each fits the descriptions, [N].
    positive
        [Z], the slices that show the organ: SaLIP is told.
    proposals
        Everything mode's masks of each slice, in order.
    max_area
        Proposals of this share of the slice or more are left out.
    """
    found = np.zeros(volume.shape, bool)
    for z, masks in enumerate(proposals):
        small = np.flatnonzero((masks.area > 0) & (masks.area < max_area * volume[z].size))
        if not positive[z] or not len(small):
            continue
        image = to_rgb_uint8(volume[z])
        crops = [crop_on_black(image, masks.masks[index]) for index in small]
        best = small[int(np.argmax(similarity(crops)))]
        box = np.array(scaled_box(masks.masks[best], 1.0))
        found[z] = segment(predictor, image, box=box)
    return found


def crop_on_black(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The part of an image [H, W, 3] inside a mask, cut out along the box, black around the mask.

    A crop much longer than wide loses its ends, evenly: CLIP resizes the short side and then looks
    at the middle, and a line across the slice would become an image of 100,000 columns first.
    """
    x0, y0, x1, y1 = map(int, scaled_box(mask, 1.0))
    crop = np.where(mask[..., None], image, 0)[y0:y1, x0:x1]
    limit = LONGEST * min(crop.shape[:2])
    cut_y, cut_x = (max(0, side - limit) // 2 for side in crop.shape[:2])
    return crop[cut_y : crop.shape[0] - cut_y, cut_x : crop.shape[1] - cut_x]
