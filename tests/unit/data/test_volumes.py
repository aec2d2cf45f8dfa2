"""Volumes: the geometry survives, and unusable files are refused with the reason."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from umsam.data.sources import read_source_label
from umsam.data.volumes import (
    Volume,
    read_array,
    read_source_volume,
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
def test_an_image_and_a_label_with_the_same_geometry_lie_on_one_grid(
    tmp_path_factory, angles, spacing, origin
):
    folder = tmp_path_factory.mktemp("grid")
    direction = rotation("x", angles[0]) @ rotation("y", angles[1]) @ rotation("z", angles[2])
    array = np.zeros((2, 3, 4), np.float32)
    volume = Volume(array, spacing, origin, tuple(direction.ravel()))
    write_volume(folder / "a.nii.gz", array, like=volume)
    write_volume(folder / "b.mha", array.astype(np.uint8), like=volume)
    read = read_volume(folder / "a.nii.gz")
    assert read_source_label(folder / "b.mha", read).sum() == 0
    assert np.allclose(read.spacing, spacing, rtol=1e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_a_single_slice_survives_a_round_trip(tmp_path, name):
    array = np.random.default_rng(0).random((1, 7, 8), np.float32)
    write_volume(tmp_path / name, array, like=Volume(array, (4.0, 1.0, 2.0)))
    back = read_volume(tmp_path / name)
    assert np.array_equal(back.array, array)
    assert np.allclose(back.spacing, (4.0, 1.0, 2.0))


def test_a_2d_image_becomes_one_slice(tmp_path):
    image = sitk.GetImageFromArray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    image.SetSpacing([0.5, 0.25])
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    volume = read_source_volume(tmp_path / "a.mha")
    assert volume.array.shape == (1, 3, 4)
    assert volume.spacing[1:] == (0.25, 0.5)


def test_bool_is_written_as_uint8_and_the_bytes_are_reproducible(tmp_path):
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


def test_writing_refuses_another_shape_and_an_unknown_format(tmp_path):
    like = Volume(np.zeros((2, 3, 4)), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"\(2, 3, 5\)"):
        write_volume(tmp_path / "a.nii.gz", np.zeros((2, 3, 5)), like=like)
    with pytest.raises(ValueError, match="no volume format"):
        write_volume(tmp_path / "a.dcm", np.zeros((2, 3, 4)), like=like)


# ---- unusable files


def write(path, image: sitk.Image):
    sitk.WriteImage(image, str(path))
    return path


def refusal(path) -> str:
    """The message with which a source file is refused."""
    with pytest.raises(InputError) as error:
        read_source_volume(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.nii.gz")


@pytest.mark.parametrize("name", FORMATS)
def test_an_unreadable_file_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"not an image")
    assert "not usable" in refusal(path)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "a.nrrd"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.4, 0.999])
def test_a_truncated_file_is_refused(tmp_path, name, kept):
    array = np.random.default_rng(0).random((8, 32, 32)).astype(np.float32)
    path = tmp_path / name
    write_volume(path, array, like=Volume(array, (1.0, 1.0, 1.0)))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    assert "not usable" in refusal(path)


def test_truncated_raw_data_are_refused(tmp_path):
    array = np.ones((8, 32, 32), np.int16)
    write_volume(tmp_path / "a.mhd", array, like=Volume(array, (1.0, 1.0, 1.0)))
    raw = tmp_path / "a.raw"
    raw.write_bytes(raw.read_bytes()[:-10])
    assert "not usable" in refusal(tmp_path / "a.mhd")


def test_a_metaimage_without_its_data_file_is_refused(tmp_path):
    array = np.zeros((2, 3, 4), np.int16)
    write_volume(tmp_path / "a.mhd", array, like=Volume(array, (1.0, 1.0, 1.0)))
    (tmp_path / "a.raw").unlink()
    assert ".raw beside it" in refusal(tmp_path / "a.mhd")


def test_four_dimensions_are_refused(tmp_path):
    image = sitk.Image([6, 5, 4, 3], sitk.sitkInt16)
    assert "4 dimensions" in refusal(write(tmp_path / "a.nii.gz", image))


def test_one_time_point_is_a_volume(tmp_path):
    path = write(tmp_path / "a.nrrd", sitk.Image([6, 5, 4, 1], sitk.sitkInt16))
    assert read_source_volume(path).array.shape == (4, 5, 6)


def test_several_channels_are_refused(tmp_path):
    image = sitk.Image([6, 5, 4], sitk.sitkVectorFloat32, 3)
    assert "holds 3 values" in refusal(write(tmp_path / "a.nii.gz", image))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_are_not_finite_are_counted(tmp_path, name, dtype):
    array = np.zeros((2, 3, 4), dtype)
    array[0, 0, :2] = np.nan
    array[1, 1, 1] = -np.inf
    path = write(tmp_path / name, sitk.GetImageFromArray(array))
    assert "3 of 24 voxels" in refusal(path)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.NII.GZ", "a.NII", "a.mha", "a.nrrd"])
def test_a_truncated_file_is_refused_for_any_spelling_of_its_suffix(tmp_path, name):
    lower = name.lower()
    array = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    write_volume(tmp_path / lower, array, like=Volume(array, (3.0, 1.0, 1.0)))
    content = (tmp_path / lower).read_bytes()
    (tmp_path / lower).unlink()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=rf"{name}: not usable.*(cut short|expected)"):
        read_source_volume(tmp_path / name)


# ---- files that the pipeline wrote


def test_only_source_volumes_are_decompressed_a_second_time(tmp_path, monkeypatch):
    array = np.ones((2, 3, 4), np.float32)
    path = tmp_path / "a.nii.gz"
    write_volume(path, array, like=Volume(array, (3.0, 1.0, 1.0)))
    checked = []
    monkeypatch.setattr("umsam.data.volumes.find_nifti_fault", checked.append)
    assert np.array_equal(read_volume(path).array, array)
    assert np.array_equal(read_array(path), array)
    assert checked == []
    assert np.array_equal(read_source_volume(path).array, array)
    assert checked == [path]
    assert not read_source_label(path, Volume(array, (3.0, 1.0, 1.0))).min() < 1
    assert checked == [path, path]


def test_a_missing_file_of_the_pipeline_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.nii\.gz: no such file\. Run the workflow again"):
        read_volume(tmp_path / "none.nii.gz")


def test_an_unreadable_file_of_the_pipeline_is_named(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"a\.nii\.gz: not readable.*Delete the file"):
        read_volume(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("kind", [np.float32, np.uint8])
def test_a_volume_of_the_pipeline_that_is_cut_short_is_refused(tmp_path, kind, kept):
    """ITK pads what is missing of a compressed file with zeros."""
    array = (np.random.default_rng(0).random((4, 30, 20)) * 200).astype(kind)
    path = tmp_path / "a.nii.gz"
    write_volume(path, array, Volume(array, (3.0, 1.0, 1.0)))
    np.testing.assert_array_equal(read_volume(path).array, array)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match=r"a\.nii\.gz: .*cut short or damaged\. Delete the file"):
        read_volume(path)
