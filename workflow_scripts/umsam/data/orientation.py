"""How volumes are stored: the direction of each axis, and whether volumes are mirrored."""

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import SimpleITK as sitk

log = logging.getLogger(__name__)

AXIS = {"L": "x", "R": "x", "A": "y", "P": "y", "S": "z", "I": "z"}  # of the patient


def read_orientation(path: str | Path) -> str:
    """Read the directions of a volume's axes x, y and z as letters such as LPS, from the header."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    direction = reader.GetDirection()
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(direction)


def count_mirrored(orientations: Iterable[str]) -> dict[str, int]:
    """Orientation -> number of volumes, if slices of one plane are stored mirrored in some.

    Axial slices are not mirror images of sagittal ones. Empty if all volumes of a plane agree.
    """
    counts = Counter(orientations)
    in_plane: dict[str, set[str]] = {}
    for name in counts:
        plane = "".join(AXIS[letter] for letter in name[:2])
        in_plane.setdefault(plane, set()).add(name[:2])
    return dict(counts) if any(len(names) > 1 for names in in_plane.values()) else {}


def warn_of_mirrored_volumes(paths: Iterable[str | Path]) -> None:
    """Log a warning if some volumes are mirror images of others."""
    mirrored = count_mirrored(map(read_orientation, paths))
    if mirrored:
        log.warning(
            "WARNING: some volumes are stored as mirror images of others (%s), but the x and y "
            "bounds of shape_priors and clustering.position_weight refer to positions in the "
            "stored slice. Store all volumes in the same orientation, for example with "
            "SimpleITK.DICOMOrient.",
            ", ".join(f"{count} {name}" for name, count in mirrored.items()),
        )
