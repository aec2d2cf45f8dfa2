"""Checks of the user's volumes: labels, grids and the slice axis."""

import numpy as np
import pytest

from umsam.data.sources import check_slice_axis, grid_differences, read_source_label
from umsam.data.volumes import Volume, write_volume
from umsam.errors import InputError


def test_a_label_is_1_where_the_file_is_above_0(tmp_path):
    values = np.array([0, 1, 2, 255, 0, -1], np.int16).reshape(1, 2, 3)
    like = Volume(values, (3.0, 1.0, 1.0))
    write_volume(tmp_path / "a.mha", values, like=like)
    label = read_source_label(tmp_path / "a.mha", like)
    assert label.dtype == np.uint8
    assert label.ravel().tolist() == [0, 1, 1, 1, 0, 0]


def test_a_different_grid_is_refused_with_the_difference(tmp_path):
    base = Volume(np.zeros((2, 3, 4), np.uint8), (3.0, 1.0, 1.0))
    cos, sin = np.cos(np.deg2rad(5)), np.sin(np.deg2rad(5))
    direction = (cos, -sin, 0.0, sin, cos, 0.0, 0.0, 0.0, 1.0)
    others = {
        "size": Volume(np.zeros((2, 3, 5), np.uint8), base.spacing),
        "spacing": Volume(base.array, (3.0, 1.0, 1.1)),
        "origin": Volume(base.array, base.spacing, (0.0, 0.6, 0.0)),
        "direction": Volume(base.array, base.spacing, direction=direction),
    }
    for index, (property_name, other) in enumerate(others.items()):
        path = tmp_path / f"{index}.nrrd"
        write_volume(path, other.array, like=other)
        with pytest.raises(InputError, match=property_name) as error:
            read_source_label(path, base, "image.nrrd")
        assert "image.nrrd" in str(error.value)
        assert [difference.split()[0] for difference in grid_differences(other, base)] == [
            property_name
        ]


def test_rounding_in_headers_is_no_difference():
    array = np.zeros((2, 3, 4), np.uint8)
    a = Volume(array, (3.3, 1.125, 1.125), (10.0, 20.0, 30.0))
    b = Volume(array, (3.2999989986419678, 1.125, 1.125), (10.00001, 20.0, 29.9999))
    assert grid_differences(a, b) == []


@pytest.mark.parametrize(
    ("spacing", "axis"),  # (z, y, x)
    [
        ((3.0, 0.6, 0.6), None),
        ((0.5, 0.8, 0.8), None),  # thin slices
        ((1.0, 1.0, 1.0), None),
        ((3.0, 0.5, 0.9), None),  # elongated pixels
        ((0.6, 0.6, 3.0), "first"),
        ((0.61, 3.3, 0.6), "second"),
        ((0.8, 0.8, 0.5), "first"),
    ],
)
def test_slices_along_the_first_or_second_axis_are_refused(spacing, axis):
    volume = Volume(np.zeros((4, 5, 6)), spacing)
    if axis is None:
        check_slice_axis("a.nii", volume)
    else:
        with pytest.raises(InputError, match=f"a.nii.*lie along the {axis}.*PermuteAxes"):
            check_slice_axis("a.nii", volume)


@pytest.mark.parametrize(
    ("values", "warns"),
    [((0, 1), False), ((0, 255), False), ((0,), False), ((1,), False), ((0, 1, 2), True),
     ((0.0, 0.31, 0.5), True), ((-1, 0), True)],
)  # fmt: skip
def test_a_label_with_several_values_causes_a_warning(tmp_path, caplog, values, warns):
    array = np.resize(np.array(values), (3, 4, 5)).astype(np.float32)
    image = Volume(array, (3.0, 1.0, 1.0))
    write_volume(tmp_path / "a.nii.gz", array, like=image)
    label = read_source_label(tmp_path / "a.nii.gz", image)
    assert np.array_equal(label, array > 0)
    assert ("WARNING" in caplog.text and "a.nii.gz: holds the values" in caplog.text) == warns
