"""Connected components of segmented volumes."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label


def largest_component(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest 6-connected component of a 3D mask; an empty mask stays empty."""
    components, count = label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(components.ravel())
    return (components == sizes[1:].argmax() + 1).astype(np.uint8)
