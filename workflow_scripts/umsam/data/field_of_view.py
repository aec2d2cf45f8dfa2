"""The part of a slice that SAM sees: all of it, or a central square of a given size in mm."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class View:
    """A rectangle of a slice in pixels: its first row and column, its height and width."""

    y: int
    x: int
    height: int
    width: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Index of the rectangle into the last two axes of an array."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


def central_view(shape: tuple[int, int], spacing: tuple[float, float], side: float | None) -> View:
    """Return the central square of a slice, cut off at the slice's borders.

    Parameters
    ----------
    shape
        Height and width of the slice in pixels.
    spacing
        Size of a pixel in mm along y and x.
    side
        Side of the square in mm; None selects the whole slice.
    """
    if side is None:
        return View(0, 0, *shape)
    height, width = (
        int(np.clip(round(side / step), 1, length))
        for length, step in zip(shape, spacing, strict=True)
    )
    return View((shape[0] - height) // 2, (shape[1] - width) // 2, height, width)
