"""MedCLIP-SAM: a CRF refines the saliency map of a text, and its box is the prompt of SAM.

Koleilat et al., "MedCLIP-SAM: bridging text and image towards universal medical image
segmentation", 2024.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from skimage.measure import label, regionprops

from umsam.baselines.dense_crf import Kernels, dense_crf
from umsam.baselines.sam_prompts import Predictor, segment
from umsam.data.intensity import to_rgb_uint8

EPS = 1e-8
TAU = 1.05  # temperature of the unary energies; both constants are those of the authors' code


def medclip_sam(
    predictor: Predictor,
    saliency: Callable[[NDArray[np.uint8]], NDArray[np.floating]],
    volume: NDArray[np.floating],
    positive: NDArray[np.bool_],
    kernels: Kernels,
    iterations: int,
) -> NDArray[np.bool_]:
    """The mask [Z, H, W] of the target; slices without the target stay empty.

    Parameters
    ----------
    predictor
        SAM.
    saliency
        Maps a slice, uint8 [H, W, 3], to its saliency map [H, W] in [0, 1].
    volume
        [Z, H, W], intensities in [0, 1].
    positive
        [Z]: which slices show the target. MedCLIP-SAM needs to know them.
    kernels, iterations
        Settings of the CRF.
    """
    mask = np.zeros(volume.shape, bool)
    for z in np.flatnonzero(positive):
        image = to_rgb_uint8(volume[z])
        salient = refine_saliency(saliency(image), image[..., 0], kernels, iterations)
        mask[z] = segment(predictor, image, box=np.array(largest_box(salient)))
    return mask


def refine_saliency(
    saliency: NDArray[np.floating], grey: NDArray[np.uint8], kernels: Kernels, iterations: int
) -> NDArray[np.bool_]:
    """The foreground of the CRF, bool [H, W], given a saliency map [H, W] in [0, 1].

    The energies are those of MedCLIP-SAM, -log p / (tau sigmoid(p)), which penalise unlikely labels
    more than -log p does.
    """
    probability = np.clip(np.stack([1 - saliency, saliency]), 0, 1)
    unary = -np.log(probability + EPS) / (TAU * expit(probability))
    return dense_crf(unary, grey, kernels, iterations).argmax(axis=0) == 1


def largest_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Box (x0, y0, x1, y1) of the 8-connected region with the largest filled area in a mask [H, W].

    For an empty mask, the box of the whole slice.
    """
    regions = regionprops(label(mask, connectivity=2))
    if not regions:
        return 0, 0, mask.shape[1], mask.shape[0]
    y0, x0, y1, x1 = max(regions, key=lambda region: region.area_filled).bbox
    return x0, y0, x1, y1
