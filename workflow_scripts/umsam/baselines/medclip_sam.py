"""MedCLIP-SAM: a text's saliency map, refined by a CRF, becomes the box that SAM is given.

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
TAU = 1.05  # of the unary energies; both as in the authors' code


def medclip_sam(
    predictor: Predictor,
    saliency: Callable[[NDArray[np.uint8]], NDArray[np.floating]],
    volume: NDArray[np.floating],
    positive: NDArray[np.bool_],
    kernels: Kernels,
    iterations: int,
) -> NDArray[np.bool_]:
    """Segmentation of a volume [Z, H, W]; slices without the organ stay empty.

    Parameters
    ----------
    predictor
        SAM.
    saliency
        Slice, uint8 [H, W, 3] -> map [H, W] in [0, 1].
    positive
        [Z], the slices that show the organ: MedCLIP-SAM is told.
    kernels, iterations
        Of the CRF.
    """
    found = np.zeros(volume.shape, bool)
    for z in np.flatnonzero(positive):
        image = to_rgb_uint8(volume[z])
        salient = refine(saliency(image), image[..., 0], kernels, iterations)
        found[z] = segment(predictor, image, box=np.array(largest_box(salient)))
    return found


def refine(
    saliency: NDArray[np.floating], grey: NDArray[np.uint8], kernels: Kernels, iterations: int
) -> NDArray[np.bool_]:
    """The pixels that the CRF takes for the object, given a saliency map [H, W] in [0, 1].

    The energies are MedCLIP-SAM's: -log p / (tau sigmoid(p)), which costs unlikely labels more than
    a plain logarithm.
    """
    probability = np.clip(np.stack([1 - saliency, saliency]), 0, 1)
    unary = -np.log(probability + EPS) / (TAU * expit(probability))
    return dense_crf(unary, grey, kernels, iterations).argmax(axis=0) == 1


def largest_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Box (x0, y0, x1, y1) of the contour that encloses most, holes included, in a mask [H, W].

    The whole slice where there is no contour. Regions are 8-connected.
    """
    regions = regionprops(label(mask, connectivity=2))
    if not regions:
        return 0, 0, mask.shape[1], mask.shape[0]
    y0, x0, y1, x1 = max(regions, key=lambda region: region.area_filled).bbox
    return x0, y0, x1, y1
