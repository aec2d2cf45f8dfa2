"""Prompts as a user would give them, simulated from the label.

Coordinates are continuous, as in Meta's grid of points: pixel i covers [i, i + 1), so a click on it
is i + 0.5 and a box runs along pixel edges. Points are (x, y), boxes (x0, y0, x1, y1).
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

RING = 1.5
"""A background click lies between the box of the object and this many times that box."""


def prompt_slice(label: NDArray[np.bool_]) -> int:
    """The slice of a volume [Z, H, W] that shows most of the object; the first among equals."""
    return int(label.sum(axis=(1, 2)).argmax())


def foreground_point(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """The deepest point (x, y) of the largest component of a mask [H, W].

    Depth is the distance to the nearest pixel outside; beyond the image's edge is outside. The
    first in reading order among equals. Components are 8-connected.

    Raises
    ------
    ValueError
        The mask is empty.
    """
    if not mask.any():
        raise ValueError("no foreground to click on")
    components, _ = ndimage.label(mask, np.ones((3, 3)))
    largest = np.bincount(components[mask]).argmax()  # none of these pixels is of component 0
    depth = ndimage.distance_transform_edt(np.pad(components == largest, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return float(x) + 0.5, float(y) + 0.5


def background_point(mask: NDArray[np.bool_], seed: int) -> tuple[float, float] | None:
    """A random point (x, y) beside the object of a mask [H, W], at the centre of a pixel.

    It lies between the object's box and RING times that box (pixels that the larger box touches).
    Where the object's box fills the image it is any pixel outside the mask; None where there is
    none, or no object.
    """
    if not mask.any():
        return None
    beside = np.zeros_like(mask)
    x0, y0, x1, y1 = scaled_box(mask, RING)
    beside[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = True
    x0, y0, x1, y1 = map(int, scaled_box(mask, 1.0))
    beside[y0:y1, x0:x1] = False
    candidates = np.argwhere(beside if beside.any() else ~mask)
    if not len(candidates):
        return None
    y, x = np.random.default_rng(seed).choice(candidates)
    return float(x) + 0.5, float(y) + 0.5


def scaled_box(mask: NDArray[np.bool_], scale: float) -> tuple[float, float, float, float]:
    """The box of a mask [H, W], scaled about its centre, then clipped to the image.

    Raises
    ------
    ValueError
        The mask is empty.
    """
    if not mask.any():
        raise ValueError("no foreground to draw a box around")
    edges = []
    for axis, size in ((0, mask.shape[1]), (1, mask.shape[0])):  # x, then y
        inside = np.flatnonzero(mask.any(axis=axis))
        low, high = inside[0], inside[-1] + 1
        centre, half = (low + high) / 2, scale * (high - low) / 2
        edges.append((max(0.0, float(centre - half)), min(float(size), float(centre + half))))
    (x0, x1), (y0, y1) = edges
    return x0, y0, x1, y1
