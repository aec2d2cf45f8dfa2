import numpy as np
import pytest
import SimpleITK as sitk

from umsam.data.volumes import FORMATS
from umsam.planning.headers import count_voxels


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("shape", [(5, 7, 11), (3, 4)])
def test_the_number_of_voxels_that_was_written(tmp_path, suffix, shape):
    path = tmp_path / f"a{suffix}"
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path), useCompression=True)
    assert count_voxels(path) == values.size


@pytest.mark.parametrize("order", "<>")
def test_both_versions_of_nifti_in_either_byte_order(tmp_path, order):
    sizes = np.array([3, 300, 200, 40, 1, 1, 1, 1])
    for length, offset, kind in ((348, 40, "i2"), (540, 16, "i8")):
        header = bytearray(length)
        header[:4] = np.array(length, f"{order}i4").tobytes()
        coded = sizes.astype(order + kind).tobytes()
        header[offset : offset + len(coded)] = coded
        path = tmp_path / f"{length}.nii"
        path.write_bytes(header)
        assert count_voxels(path) == 300 * 200 * 40


@pytest.mark.parametrize(
    "content", [b"", b"DimSize", b"\x1f\x8b\x08", b"\x1f\x8bgarbage" * 99, bytes(1000)]
)
def test_what_is_no_volume_has_no_size(tmp_path, content):
    path = tmp_path / "a.nii.gz"
    assert count_voxels(path) is None
    path.write_bytes(content)
    assert count_voxels(path) is None
