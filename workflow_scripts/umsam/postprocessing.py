"""Slices that were segmented one by one, made into a volume."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, label


def smooth_z(odds: NDArray[np.float32], sd: float, step: float) -> NDArray[np.float32]:
    """Gaussian mean, of deviation `sd` mm, over the slices of a volume, which lie `step` mm apart.

    Of log odds or probabilities [Z, ...], so that a slice that tells little follows its neighbours.
    Outside of the volume the last slice counts on. 0 changes nothing.
    """
    return gaussian_filter1d(odds, sd / step, axis=0, mode="nearest") if sd else odds


def largest_component(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest 6-connected component of a 3D mask; an empty mask stays empty."""
    components, count = label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(components.ravel())
    return (components == sizes[1:].argmax() + 1).astype(np.uint8)
