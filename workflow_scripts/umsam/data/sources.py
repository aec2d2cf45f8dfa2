"""Checks of the user's volumes: the slice axis, and labels on the grid of their image."""

import logging
from pathlib import Path

import numpy as np

from umsam.data.volumes import Volume, read_source_volume
from umsam.errors import InputError

log = logging.getLogger(__name__)

# Two grids are the same if they differ by no more than the rounding of headers.
SPACING_TOLERANCE = 1e-3  # fraction of the spacing
ORIGIN_TOLERANCE = 0.1  # voxels
DIRECTION_TOLERANCE = 1e-3  # of a cosine
SHOWN_VALUES = 6  # label values listed in the warning


def read_source_label(
    path: str | Path, image: Volume, image_path: str | Path = "its image"
) -> np.ndarray:
    """Read the label of an image: uint8 [Z, Y, X], 1 where the file is above 0; it may be empty.

    Parameters
    ----------
    path
        The label that the user provides.
    image, image_path
        Its image, and the file of the image.

    Raises
    ------
    InputError
        See `read_source_volume`; or the grids of label and image differ, and the message says in
        what.
    """
    label = read_source_volume(path)
    differences = grid_differences(label, image)
    if differences:
        raise InputError(
            f"{path}: the label does not lie on the grid of {image_path}: "
            f"{'; '.join(differences)}. Resample the label to the image (nearest neighbour), or "
            "pair the right files in the sample sheet."
        )
    _warn_of_several_values(path, label.array)
    return (label.array > 0).astype(np.uint8)


def _warn_of_several_values(path: str | Path, label: np.ndarray) -> None:
    """Warn unless the label holds only 0 and one positive value."""
    values = np.unique(label)
    if values[0] < 0 or np.count_nonzero(values > 0) > 1:
        shown = ", ".join(f"{value:g}" for value in values[:SHOWN_VALUES])
        log.warning(
            "WARNING: %s: holds the values %s%s. Everything above 0 counts as the organ. If this "
            "is not intended, save a label of the organ alone.",
            path,
            shown,
            ", ..." if len(values) > SHOWN_VALUES else "",
        )


def check_slice_axis(path: str | Path, volume: Volume) -> None:
    """Check that the slices lie along z, the third axis of the file.

    Raises
    ------
    InputError
        The pixels of a slice along z are elongated, but those along another axis are square, so
        the file stores its slices along that axis.
    """
    z, y, x = volume.spacing
    for axis, thickness, pixel in (("first", x, (y, z)), ("second", y, (x, z))):
        is_square = max(pixel) <= 1.05 * min(pixel)
        if is_square and max(y, x) > 1.5 * min(y, x):
            raise InputError(
                f"{path}: slices are taken along the third axis, but the slices of this "
                f"file lie along the {axis}, {thickness:.3g} mm apart (third axis: {z:.3g} mm). "
                "Permute the axes, for example with SimpleITK.PermuteAxes, or export the file "
                "again."
            )


def grid_differences(a: Volume, b: Volume) -> list[str]:
    """Describe the differences between two grids; the list is empty if they are the same."""
    differences = []
    if a.array.shape != b.array.shape:
        differences.append(f"size (z, y, x) {a.array.shape} against {b.array.shape}")
    if not np.allclose(a.spacing, b.spacing, rtol=SPACING_TOLERANCE, atol=0):
        spacings = f"{_round(a.spacing)} against {_round(b.spacing)}"
        differences.append(f"spacing (z, y, x) {spacings} mm")
    offset = np.abs(np.subtract(a.origin, b.origin)).max()
    if offset > ORIGIN_TOLERANCE * min(b.spacing):
        differences.append(f"origin (x, y, z) {_round(a.origin)} against {_round(b.origin)} mm")
    if not np.allclose(a.direction, b.direction, rtol=0, atol=DIRECTION_TOLERANCE):
        differences.append(f"direction {_round(a.direction)} against {_round(b.direction)}")
    return differences


def _round(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)
