"""The orientation that SimpleITK gives a volume, and mirrored volumes."""

import logging

import numpy as np
import pytest
import SimpleITK as sitk

from umsam.data.orientation import count_mirrored, read_orientation, warn_of_mirrored_volumes


@pytest.mark.parametrize("name", ["LPS", "RAS", "LAS", "PIR", "LIP"])
def test_the_orientation_is_the_one_that_itk_turns_to(tmp_path, name):
    image = sitk.DICOMOrient(sitk.Image([6, 5, 4], sitk.sitkInt16), name)
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    assert read_orientation(tmp_path / "a.nii.gz") == name


@pytest.mark.parametrize(
    ("orientations", "mirrored"),
    [
        (["LPS", "LPS"], {}),
        (["LPS", "LAS", "LPS"], {"LPS": 2, "LAS": 1}),
        (["LPS", "RPS"], {"LPS": 1, "RPS": 1}),
        (["LPS", "LPI"], {}),  # slices from below, not from above
        (["LPS", "PIR"], {}),  # axial and sagittal
        (["LPS", "PIR", "PSR"], {"LPS": 1, "PIR": 1, "PSR": 1}),
        ([], {}),
    ],
)
def test_mirrored_volumes_are_counted(orientations, mirrored):
    assert count_mirrored(orientations) == mirrored


def test_a_mirrored_volume_is_warned_of(tmp_path, caplog):
    image = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.float32))
    paths = []
    for name in ("LPS", "LPS", "RPS"):
        paths.append(tmp_path / f"{len(paths)}.nii.gz")
        sitk.WriteImage(sitk.DICOMOrient(image, name), str(paths[-1]))
    warn_of_mirrored_volumes(paths[:2])
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        warn_of_mirrored_volumes(paths)
    assert "2 LPS, 1 RPS" in caplog.text
