"""The input of the decoders: SAM's features and the image, averaged over the cells of a grid."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umsam.data.field_of_view import View, central_view
from umsam.data.volumes import Volume, read_volume
from umsam.pseudo_labels.roi_features import pad_to_square, pixels_in_patches

MIN_SIDE = 96  # cells


@dataclass(frozen=True)
class DecoderInput:
    """One volume as the decoders see it.

    Features and image cover the square that SAM saw of each slice. SAM pads a slice at the right
    or bottom, so some cells lie outside the view.

    Attributes
    ----------
    features
        SAM's features [Z, D, h, w], memory-mapped.
    image
        Mean intensity of each cell [Z, side, side], with the `side` of `grid_side`; NaN if the
        centre of the cell is outside the view.
    spacing
        Distance between slices in mm.
    """

    features: NDArray[np.floating]
    image: NDArray[np.float32]
    spacing: float

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The cells whose centre is in the view, [Z, side, side]."""
        return ~np.isnan(self.image)


def grid_side(cells: int) -> int:
    """Return the side of the decoders' grid for a side of `cells` in SAM's embedding."""
    return max(MIN_SIDE, 2 * cells)


def average_cells(slices: NDArray, view: View, cells: int) -> NDArray[np.float32]:
    """Average slices over the cells of a grid on the square that SAM saw.

    The mean covers the part of the cell that is in the view. The mean of a mask is the fraction of
    the cell that the mask covers.

    Parameters
    ----------
    slices
        [Z, H, W].
    view
        The part of a slice that SAM saw.
    cells
        Cells along one side of the grid.

    Returns
    -------
    float32 [Z, cells, cells]; NaN if the centre of the cell is outside the view.
    """
    square = pad_to_square(slices[:, *view.window])
    side = square.shape[-1]
    view_mask = pad_to_square(np.ones((1, view.height, view.width), bool))
    area = pixels_in_patches(view_mask, cells, cells)
    centres = (np.arange(cells) + 0.5) * (side / cells)
    inside = (centres[:, None] < view.height) & (centres < view.width)
    means = pixels_in_patches(square, cells, cells) / np.where(inside, area, 1)
    return np.where(inside, means, np.nan).astype(np.float32)


def read_decoder_input(
    volume_file: str | Path, feature_file: str | Path, field_of_view: float | None
) -> tuple[Volume, View, DecoderInput]:
    """Read a volume and SAM's features of it.

    Parameters
    ----------
    volume_file
        ``volumes/{case}.nii.gz``.
    feature_file
        ``sam_features/{case}.npy``.
    field_of_view
        Side in mm of the square that SAM saw (`central_view`).

    Returns
    -------
    volume, view, decoder_input
        The volume, the part of a slice that SAM saw, and the input of the decoders.
    """
    volume = read_volume(volume_file)
    height, width = volume.array.shape[1:]
    view = central_view((height, width), volume.spacing[1:], field_of_view)
    features = np.load(feature_file, mmap_mode="r")
    image = average_cells(volume.array, view, grid_side(features.shape[-1]))
    return volume, view, DecoderInput(features, image, volume.spacing[0])
