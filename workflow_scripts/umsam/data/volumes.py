"""Volumes on disk: NIfTI, MetaImage and NRRD through SimpleITK, with their geometry.

Arrays are [Z, Y, X] and spacing is (z, y, x) in mm. Origin and direction stay in SimpleITK's own
order (x, y, z): nothing here computes with them, they only travel to the files that are written.
"""

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from umsam.data.nifti_checks import nifti_fault
from umsam.errors import InputError
from umsam.files import atomic_write

log = logging.getLogger(__name__)

FORMATS = (".nii", ".nii.gz", ".mhd", ".mha", ".nrrd", ".nhdr")

# Two grids are the same one when they differ by no more than what headers lose to rounding.
SPACING_TOLERANCE = 1e-3  # share of the spacing
ORIGIN_TOLERANCE = 0.1  # voxels
DIRECTION_TOLERANCE = 1e-3  # of a cosine


@dataclass(frozen=True)
class Volume:
    """A 3D image and where it lies in the scanner.

    Attributes
    ----------
    array
        [Z, Y, X], of the file's own type.
    spacing
        (z, y, x) in mm.
    origin
        Position of the first voxel in mm, (x, y, z) as SimpleITK hands it out.
    direction
        The nine cosines, row by row, as SimpleITK hands them out.
    """

    array: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def read_volume(path: str | Path) -> Volume:
    """Read a scalar volume; a 2D image becomes a volume of one slice.

    Raises
    ------
    InputError
        The file is missing or unreadable, has several time points or channels, or holds values
        that are not finite.
    """
    image = _read_image(Path(path))
    array = sitk.GetArrayFromImage(image)
    if np.issubdtype(array.dtype, np.floating):
        bad = array.size - np.count_nonzero(np.isfinite(array))
        if bad:
            raise _unusable(path, f"{bad} of {array.size} voxels are not finite (NaN or infinite)")
    x, y, z = image.GetSpacing()
    return Volume(array, (z, y, x), image.GetOrigin(), image.GetDirection())


def read_array(path: str | Path) -> np.ndarray:
    """The voxels of a volume alone, [Z, Y, X]; raises as `read_volume` does."""
    return read_volume(path).array


def read_label(path: str | Path, image: Volume, image_path: str | Path = "its image") -> np.ndarray:
    """Read the label of an image: uint8 [Z, Y, X], 1 where the file is above 0 (may be empty).

    Raises
    ------
    InputError
        As `read_volume`, or the label's grid is not the image's: the message says which of size,
        spacing, origin and direction differ.
    """
    label = read_volume(path)
    differences = grid_differences(label, image)
    if differences:
        raise InputError(
            f"{path}: the label does not lie on the grid of {image_path}: "
            f"{'; '.join(differences)}. Resample the label onto the image (nearest neighbour), or "
            "pair the right files in the sample sheet."
        )
    _warn_of_values(path, label.array)
    return (label.array > 0).astype(np.uint8)


def _warn_of_values(path: str | Path, label: np.ndarray) -> None:
    """A label's 0 and one number above it are background and organ; tell of anything else."""
    values = np.unique(label)
    if values[0] < 0 or np.count_nonzero(values > 0) > 1:
        shown = ", ".join(f"{value:g}" for value in values[:6])
        log.warning(
            "WARNING: %s: holds the values %s%s. Everything above 0 counts as the organ; save a "
            "label of the organ alone if that is not meant.",
            path, shown, ", ..." if len(values) > 6 else "",
        )  # fmt: skip


def check_slice_axis(path: str | Path, volume: Volume) -> None:
    """Slices are taken along z, the third axis of a file.

    Raises
    ------
    InputError
        The pixels of such a slice would be long strips, while across another axis they are square:
        the file stores its slices along that one.
    """
    z, y, x = volume.spacing
    for axis, through, across in (("first", x, (y, z)), ("second", y, (x, z))):
        square = max(across) <= 1.05 * min(across)
        if square and max(y, x) > 1.5 * min(y, x):
            raise InputError(
                f"{path}: slices are taken along the third axis, whose voxels are {z:.3g} mm, but "
                f"this file's lie along the {axis}, {through:.3g} mm apart, and would be cut into "
                "strips. Store them along the third: SimpleITK.PermuteAxes, or export again."
            )


def grid_differences(a: Volume, b: Volume) -> list[str]:
    """What differs between two grids, in words; empty when they are the same."""
    found = []
    if a.array.shape != b.array.shape:
        found.append(f"size (z, y, x) {a.array.shape} against {b.array.shape}")
    if not np.allclose(a.spacing, b.spacing, rtol=SPACING_TOLERANCE, atol=0):
        found.append(f"spacing (z, y, x) {_rounded(a.spacing)} against {_rounded(b.spacing)} mm")
    offset = np.abs(np.subtract(a.origin, b.origin)).max()
    if offset > ORIGIN_TOLERANCE * min(b.spacing):
        found.append(f"origin (x, y, z) {_rounded(a.origin)} against {_rounded(b.origin)} mm")
    if not np.allclose(a.direction, b.direction, rtol=0, atol=DIRECTION_TOLERANCE):
        found.append(f"direction {_rounded(a.direction)} against {_rounded(b.direction)}")
    return found


def write_volume(path: str | Path, array: np.ndarray, like: Volume) -> None:
    """Write `array` [Z, Y, X] with the geometry of `like`, whole or not at all.

    The format follows the name; bool is written as uint8. Raises `ValueError` when the array's
    shape is not that of `like`, or the name has no known suffix.
    """
    path = Path(path)
    if array.shape != like.array.shape:
        raise ValueError(f"{path}: array {array.shape} for a volume of {like.array.shape}")
    if not path.name.endswith(FORMATS):
        raise ValueError(f"{path}: no volume format (known: {', '.join(FORMATS)})")
    stored = array.astype(np.uint8) if array.dtype == bool else np.ascontiguousarray(array)
    image = sitk.GetImageFromArray(stored)
    image.SetSpacing(tuple(float(s) for s in like.spacing[::-1]))
    image.SetOrigin(tuple(float(o) for o in like.origin))
    image.SetDirection(tuple(float(d) for d in like.direction))
    if path.suffix in (".mhd", ".nhdr"):
        _write_with_data_file(path, image)
        return
    with atomic_write(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)


def _write_with_data_file(path: Path, image: sitk.Image) -> None:
    """A header names its data file: both get their names in a folder aside, the header last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".~") as folder:
        sitk.WriteImage(image, str(Path(folder) / path.name), useCompression=False)
        for part in sorted(Path(folder).iterdir(), key=lambda part: part.name == path.name):
            os.replace(part, path.parent / part.name)


def _read_image(path: Path) -> sitk.Image:
    if not path.is_file():
        raise InputError(
            f"{path}: no such file. Correct the path in the sample sheet (paths are relative to "
            "the sheet, or to data_root where the data set gives one)."
        )
    if path.name.lower().endswith((".nii", ".nii.gz")):
        fault = nifti_fault(path)
        if fault:
            raise _unusable(path, fault)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unusable(path, _reason(error)) from error
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() == 2:
        image = sitk.JoinSeries(image)
    if image.GetDimension() != 3:
        raise InputError(
            f"{path}: has {image.GetDimension()} dimensions, size {image.GetSize()} (x, y, z, t). "
            "One 3D volume is needed: save each time point as a file and case of its own."
        )
    channels = image.GetNumberOfComponentsPerPixel()
    if channels != 1 or "complex" in image.GetPixelIDTypeAsString():
        raise InputError(
            f"{path}: each voxel holds {channels} values ({image.GetPixelIDTypeAsString()}). A "
            "scalar volume is needed: save one channel (or the magnitude) alone."
        )
    return image


def _unusable(path: str | Path, fault: str) -> InputError:
    return InputError(
        f"{path}: not usable as a volume: {fault}. NIfTI, MetaImage (.mha, or .mhd with its .raw "
        "beside it) and NRRD are read; copy or export the file again, with finite values only."
    )


def _reason(error: RuntimeError) -> str:
    """The last line of ITK's report, which carries the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1] if lines else type(error).__name__
    if "No such file" in reason:  # ITK's word where the header is there and its voxels are not
        return "cut short, or the file with its voxels is missing"
    return reason


def _rounded(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)
