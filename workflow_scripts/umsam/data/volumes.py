"""Volumes on disk: NIfTI, MetaImage and NRRD through SimpleITK, with their geometry.

Arrays are [Z, Y, X] and spacing is (z, y, x) in mm. Origin and direction keep SimpleITK's order
(x, y, z): the pipeline does not compute with them and only copies them to its outputs.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from umsam.data.nifti_checks import find_nifti_fault, is_cut_short
from umsam.errors import InputError
from umsam.files import atomic_write

FORMATS = (".nii", ".nii.gz", ".mhd", ".mha", ".nrrd", ".nhdr")


@dataclass(frozen=True)
class Volume:
    """A 3D image and its position in the scanner.

    Attributes
    ----------
    array
        [Z, Y, X], in the data type of the file.
    spacing
        Voxel size in mm (z, y, x).
    origin
        Position of the first voxel in mm (x, y, z).
    direction
        The nine direction cosines, row by row.
    """

    array: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def read_source_volume(path: str | Path) -> Volume:
    """Read a scalar volume that the user provides; a 2D image becomes a volume of one slice.

    NIfTI files are decompressed twice, because SimpleITK does not report all their faults. Each
    source is therefore read with this function only where it enters the pipeline.

    Raises
    ------
    InputError
        The file is missing or unreadable, has several time points or channels, or holds values
        that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: no such file. Correct the path in the sample sheet (paths are relative to "
            "the sheet, or to data_root if the data set has one)."
        )
    if path.name.lower().endswith((".nii", ".nii.gz")):
        fault = find_nifti_fault(path)
        if fault:
            raise _unusable(path, fault)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unusable(path, _find_cause(error)) from error
    volume = _to_volume(_scalar_image(path, image))
    if np.issubdtype(volume.array.dtype, np.floating):
        size = volume.array.size
        count = size - np.count_nonzero(np.isfinite(volume.array))
        if count:
            raise _unusable(path, f"{count} of {size} voxels are not finite (NaN or infinite)")
    return volume


def read_volume(path: str | Path) -> Volume:
    """Read a volume that the pipeline wrote.

    Raises
    ------
    InputError
        The file is missing, cut short or unreadable.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file. Run the workflow again to create it.")
    if path.name.endswith(".nii.gz") and is_cut_short(path):
        raise InputError(
            f"{path}: not readable as a volume: cut short or damaged. Delete the file and run the "
            "workflow again to create it."
        )
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(
            f"{path}: not readable as a volume: {_find_cause(error)}. Delete the file and run the "
            "workflow again to create it."
        ) from error
    return _to_volume(image)


def read_array(path: str | Path) -> np.ndarray:
    """Read only the voxels [Z, Y, X] of a volume that the pipeline wrote, as `read_volume`."""
    return read_volume(path).array


def write_volume(path: str | Path, array: np.ndarray, like: Volume) -> None:
    """Write `array` [Z, Y, X] with the geometry of `like`, completely or not at all.

    The file format follows the name; bool is written as uint8.

    Raises
    ------
    ValueError
        The array and `like` differ in shape, or the name has no known suffix.
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
    """Write a header and its data file to a temporary folder, and move the header last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".~") as folder:
        sitk.WriteImage(image, str(Path(folder) / path.name), useCompression=False)
        for part in sorted(Path(folder).iterdir(), key=lambda part: part.name == path.name):
            os.replace(part, path.parent / part.name)


def _scalar_image(path: Path, image: sitk.Image) -> sitk.Image:
    """Return the 3D scalar image of a file, or raise an error that says why there is none."""
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() == 2:
        image = sitk.JoinSeries(image)
    if image.GetDimension() != 3:
        raise InputError(
            f"{path}: has {image.GetDimension()} dimensions, size {image.GetSize()} (x, y, z, t). "
            "One 3D volume is needed: save each time point as a separate file and case."
        )
    channels = image.GetNumberOfComponentsPerPixel()
    if channels != 1 or "complex" in image.GetPixelIDTypeAsString():
        raise InputError(
            f"{path}: each voxel holds {channels} values ({image.GetPixelIDTypeAsString()}). A "
            "scalar volume is needed: save a single channel, or the magnitude."
        )
    return image


def _to_volume(image: sitk.Image) -> Volume:
    x, y, z = image.GetSpacing()
    array = sitk.GetArrayFromImage(image)
    return Volume(array, (z, y, x), image.GetOrigin(), image.GetDirection())


def _unusable(path: Path, fault: str) -> InputError:
    return InputError(
        f"{path}: not usable as a volume: {fault}. Supported formats are NIfTI, MetaImage (.mha, "
        "or .mhd with its .raw beside it) and NRRD. Copy or export the file again, with finite "
        "values only."
    )


def _find_cause(error: RuntimeError) -> str:
    """Return the last line of ITK's report, which names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = lines[-1] if lines else type(error).__name__
    if "No such file" in cause:  # ITK's message if the header exists and its voxels do not
        return "cut short, or the file with its voxels is missing"
    return cause
