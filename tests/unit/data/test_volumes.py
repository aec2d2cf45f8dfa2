"""Volumes: the geometry survives, and what cannot be used is refused with its reason."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from umsam.data.volumes import (
    Volume,
    check_slice_axis,
    grid_differences,
    read_label,
    read_volume,
    write_volume,
)
from umsam.errors import InputError

FORMATS = ("a.nii.gz", "a.nii", "a.mhd", "a.mha", "a.nrrd")


def rotation(axis: str, degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    return {
        "x": np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]),
        "y": np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]),
        "z": np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]),
    }[axis]


GEOMETRIES = {
    "plain": np.eye(3),
    "rotated": rotation("x", 20) @ rotation("y", -35) @ rotation("z", 110),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "left-handed": np.diag([1.0, 1.0, -1.0]),
    "sagittal": np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_geometry_survives_a_round_trip(tmp_path, name, geometry):
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    direction = tuple(GEOMETRIES[geometry].ravel())
    volume = Volume(array, (3.3, 1.125, 0.9), (-12.5, 30.25, 7.75), direction)
    write_volume(tmp_path / name, array, like=volume)
    back = read_volume(tmp_path / name)
    assert back.array.dtype == np.int16
    assert np.array_equal(back.array, array)
    assert np.allclose(back.spacing, volume.spacing, rtol=1e-6, atol=0)
    assert np.allclose(back.origin, volume.origin, rtol=1e-6, atol=1e-6)
    assert np.allclose(back.direction, volume.direction, rtol=0, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [name, "a.raw"] if name == "a.mhd" else [name]
    )


def test_axes_and_spacing_are_z_y_x(tmp_path):
    image = sitk.Image([6, 5, 4], sitk.sitkInt16)  # x, y, z
    image.SetSpacing([0.5, 0.75, 3.0])
    image[1, 2, 3] = 7
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    volume = read_volume(tmp_path / "a.nrrd")
    assert volume.array.shape == (4, 5, 6)
    assert volume.spacing == (3.0, 0.75, 0.5)
    assert volume.array[3, 2, 1] == 7


@settings(max_examples=20, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 8)] * 3),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
)
def test_an_image_and_its_label_written_alike_lie_on_one_grid(
    tmp_path_factory, angles, spacing, origin
):
    folder = tmp_path_factory.mktemp("grid")
    direction = rotation("x", angles[0]) @ rotation("y", angles[1]) @ rotation("z", angles[2])
    array = np.zeros((2, 3, 4), np.float32)
    volume = Volume(array, spacing, origin, tuple(direction.ravel()))
    write_volume(folder / "a.nii.gz", array, like=volume)
    write_volume(folder / "b.mha", array.astype(np.uint8), like=volume)
    read = read_volume(folder / "a.nii.gz")
    assert read_label(folder / "b.mha", read).sum() == 0
    assert np.allclose(read.spacing, spacing, rtol=1e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_a_single_slice_is_a_volume(tmp_path, name):
    array = np.random.default_rng(0).random((1, 7, 8), np.float32)
    write_volume(tmp_path / name, array, like=Volume(array, (4.0, 1.0, 2.0)))
    back = read_volume(tmp_path / name)
    assert np.array_equal(back.array, array)
    assert np.allclose(back.spacing, (4.0, 1.0, 2.0))


def test_a_2d_image_becomes_one_slice(tmp_path):
    image = sitk.GetImageFromArray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    image.SetSpacing([0.5, 0.25])
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    volume = read_volume(tmp_path / "a.mha")
    assert volume.array.shape == (1, 3, 4)
    assert volume.spacing[1:] == (0.25, 0.5)


def test_bool_is_written_as_uint8_and_the_file_is_the_same_each_time(tmp_path):
    mask = np.random.default_rng(1).random((3, 9, 9)) > 0.5
    like = Volume(mask, (3.0, 1.0, 1.0))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, mask, like=like)
    assert read_volume(tmp_path / "a.nii.gz").array.dtype == np.uint8
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    array = np.zeros((2, 3, 4), np.float32)
    like = Volume(array, (1.0, 1.0, 1.0))
    write_volume(tmp_path / "a.nii.gz", array, like=like)

    def fail(image, name, **options):
        with open(name, "wb") as stream:
            stream.write(b"half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(sitk, "WriteImage", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        write_volume(tmp_path / "a.nii.gz", array + 1, like=like)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").array, array)


def test_write_refuses_another_shape_and_an_unknown_format(tmp_path):
    like = Volume(np.zeros((2, 3, 4)), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"\(2, 3, 5\)"):
        write_volume(tmp_path / "a.nii.gz", np.zeros((2, 3, 5)), like=like)
    with pytest.raises(ValueError, match="no volume format"):
        write_volume(tmp_path / "a.dcm", np.zeros((2, 3, 4)), like=like)


# ---- what is refused


def written(path, image: sitk.Image):
    sitk.WriteImage(image, str(path))
    return path


def refused(path) -> str:
    with pytest.raises(InputError) as error:
        read_volume(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_missing_file(tmp_path):
    assert "no such file" in refused(tmp_path / "none.nii.gz")


@pytest.mark.parametrize("name", FORMATS)
def test_unreadable_file(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"not an image")
    assert "not usable" in refused(path)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "a.nrrd"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.4, 0.999])
def test_file_cut_short(tmp_path, name, kept):
    array = np.random.default_rng(0).random((8, 32, 32)).astype(np.float32)
    path = tmp_path / name
    write_volume(path, array, like=Volume(array, (1.0, 1.0, 1.0)))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    assert "not usable" in refused(path)


def test_raw_data_cut_short(tmp_path):
    array = np.ones((8, 32, 32), np.int16)
    write_volume(tmp_path / "a.mhd", array, like=Volume(array, (1.0, 1.0, 1.0)))
    raw = tmp_path / "a.raw"
    raw.write_bytes(raw.read_bytes()[:-10])
    assert "not usable" in refused(tmp_path / "a.mhd")


def test_metaimage_without_its_data_file(tmp_path):
    array = np.zeros((2, 3, 4), np.int16)
    write_volume(tmp_path / "a.mhd", array, like=Volume(array, (1.0, 1.0, 1.0)))
    (tmp_path / "a.raw").unlink()
    assert ".raw beside it" in refused(tmp_path / "a.mhd")


def test_four_dimensions(tmp_path):
    image = sitk.Image([6, 5, 4, 3], sitk.sitkInt16)
    assert "4 dimensions" in refused(written(tmp_path / "a.nii.gz", image))


def test_one_time_point_is_a_volume(tmp_path):
    path = written(tmp_path / "a.nrrd", sitk.Image([6, 5, 4, 1], sitk.sitkInt16))
    assert read_volume(path).array.shape == (4, 5, 6)


def test_several_channels(tmp_path):
    image = sitk.Image([6, 5, 4], sitk.sitkVectorFloat32, 3)
    assert "holds 3 values" in refused(written(tmp_path / "a.nii.gz", image))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_are_not_finite_are_counted(tmp_path, name, dtype):
    array = np.zeros((2, 3, 4), dtype)
    array[0, 0, :2] = np.nan
    array[1, 1, 1] = -np.inf
    path = written(tmp_path / name, sitk.GetImageFromArray(array))
    assert "3 of 24 voxels" in refused(path)


# ---- labels


def test_a_label_is_what_lies_above_zero(tmp_path):
    values = np.array([0, 1, 2, 255, 0, -1], np.int16).reshape(1, 2, 3)
    like = Volume(values, (3.0, 1.0, 1.0))
    write_volume(tmp_path / "a.mha", values, like=like)
    label = read_label(tmp_path / "a.mha", like)
    assert label.dtype == np.uint8
    assert label.ravel().tolist() == [0, 1, 1, 1, 0, 0]


def test_a_grid_that_differs_is_refused_with_what_differs(tmp_path):
    base = Volume(np.zeros((2, 3, 4), np.uint8), (3.0, 1.0, 1.0))
    direction = tuple(rotation("z", 5).ravel())
    others = {
        "size": Volume(np.zeros((2, 3, 5), np.uint8), base.spacing),
        "spacing": Volume(base.array, (3.0, 1.0, 1.1)),
        "origin": Volume(base.array, base.spacing, (0.0, 0.6, 0.0)),
        "direction": Volume(base.array, base.spacing, direction=direction),
    }
    for index, (what, other) in enumerate(others.items()):
        path = tmp_path / f"{index}.nrrd"
        write_volume(path, other.array, like=other)
        with pytest.raises(InputError, match=what) as error:
            read_label(path, base, "image.nrrd")
        assert "image.nrrd" in str(error.value)
        assert [difference.split()[0] for difference in grid_differences(other, base)] == [what]


def test_rounding_of_headers_is_no_difference():
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
        ((3.0, 0.5, 0.9), None),  # oblong pixels
        ((0.6, 0.6, 3.0), "first"),
        ((0.61, 3.3, 0.6), "second"),
        ((0.8, 0.8, 0.5), "first"),
    ],
)
def test_slices_along_another_axis_than_the_third_are_refused(spacing, axis):
    volume = Volume(np.zeros((4, 5, 6)), spacing)
    if axis is None:
        check_slice_axis("a.nii", volume)
    else:
        with pytest.raises(InputError, match=f"a.nii.*lie along the {axis}.*PermuteAxes"):
            check_slice_axis("a.nii", volume)


@pytest.mark.parametrize(
    ("values", "told"),
    [((0, 1), False), ((0, 255), False), ((0,), False), ((1,), False), ((0, 1, 2), True),
     ((0.0, 0.31, 0.5), True), ((-1, 0), True)],
)  # fmt: skip
def test_a_label_of_several_values_is_told_of(tmp_path, caplog, values, told):
    array = np.resize(np.array(values), (3, 4, 5)).astype(np.float32)
    image = Volume(array, (3.0, 1.0, 1.0))
    write_volume(tmp_path / "a.nii.gz", array, like=image)
    label = read_label(tmp_path / "a.nii.gz", image)
    assert np.array_equal(label, array > 0)
    assert ("WARNING" in caplog.text and "a.nii.gz: holds the values" in caplog.text) == told


@pytest.mark.parametrize("name", ["a.nii.gz", "a.NII.GZ", "a.NII", "a.mha", "a.nrrd"])
def test_a_file_cut_short_is_refused_however_it_is_spelt(tmp_path, name):
    written = name.lower()
    array = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    write_volume(tmp_path / written, array, like=Volume(array, (3.0, 1.0, 1.0)))
    content = (tmp_path / written).read_bytes()
    (tmp_path / written).unlink()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=rf"{name}: not usable.*(cut short|expected)"):
        read_volume(tmp_path / name)
