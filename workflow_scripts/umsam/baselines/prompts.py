"""Prompts of a user, simulated from the label.

Coordinates are continuous, as in Meta's point grid: pixel i covers [i, i + 1), so the coordinate of
a click on it is i + 0.5, and boxes run along pixel edges. Points are (x, y), boxes are
(x0, y0, x1, y1).
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

RING = 1.5
"""A background click lies between the target's box and that box scaled by this factor."""


def prompt_slice(label: NDArray[np.bool_]) -> int:
    """The slice with the largest target area in a label [Z, H, W]; the first of several."""
    return int(label.sum(axis=(1, 2)).argmax())


def foreground_point(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """The deepest point (x, y) of the largest 8-connected component of a mask [H, W].

    Depth is the distance to the nearest pixel outside the component or the image. Of several
    deepest points, the first in row-major order.

    Raises
    ------
    ValueError
        The mask is empty.
    """
    if not mask.any():
        raise ValueError("no foreground to click on: the mask is empty")
    components, _ = ndimage.label(mask, np.ones((3, 3)))
    largest = np.bincount(components[mask]).argmax()  # component 0 is the background
    depth = ndimage.distance_transform_edt(np.pad(components == largest, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return float(x) + 0.5, float(y) + 0.5


def background_point(mask: NDArray[np.bool_], seed: int) -> tuple[float, float] | None:
    """A random point (x, y) next to the target of a mask [H, W], at the centre of a pixel.

    The point lies between the target's box and that box scaled by RING; pixels that the larger box
    only touches are included. If the target's box fills the image, the point is any pixel outside
    the mask. None if there is no such pixel, or if the mask is empty.
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
    """The box of a mask [H, W], scaled about its centre and clipped to the image.

    Raises
    ------
    ValueError
        The mask is empty.
    """
    if not mask.any():
        raise ValueError("no foreground for a box: the mask is empty")
    edges = []
    for axis, size in ((0, mask.shape[1]), (1, mask.shape[0])):  # x, then y
        inside = np.flatnonzero(mask.any(axis=axis))
        low, high = inside[0], inside[-1] + 1
        centre, half = (low + high) / 2, scale * (high - low) / 2
        edges.append((max(0.0, float(centre - half)), min(float(size), float(centre + half))))
    (x0, x1), (y0, y1) = edges
    return x0, y0, x1, y1
