"""What SAM sees of a slice: all of it, or a square of a given size in mm around its middle."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class View:
    """A rectangle of a slice, in whole pixels: its first row and column, its height and width."""

    y: int
    x: int
    height: int
    width: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns, to index the last two axes of an array with."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


def view_of(shape: tuple[int, int], spacing: tuple[float, float], side: float | None) -> View:
    """The central square of a slice; along an axis that is shorter, all of it.

    Parameters
    ----------
    shape
        Height and width of the slice in pixels.
    spacing
        Size of a pixel in mm along y and x.
    side
        Of the square, in mm; None: the whole slice.
    """
    if side is None:
        return View(0, 0, *shape)
    height, width = (
        int(np.clip(round(side / step), 1, length))
        for length, step in zip(shape, spacing, strict=True)
    )
    return View((shape[0] - height) // 2, (shape[1] - width) // 2, height, width)
