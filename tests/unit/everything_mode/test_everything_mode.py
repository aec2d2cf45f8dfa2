"""Everything mode on a volume: its files, its generators, what it does not keep."""

import gc
import importlib.util

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from tiny_sam import CHANNELS, SETTINGS

from umsam.data.intensity import to_rgb_uint8
from umsam.errors import InputError
from umsam.everything_mode.everything_mode import everything_mode, make_generator
from umsam.data.field_of_view import View, view_of
from umsam.data.masks import read_slice_masks, slice_file

GENERATORS = ("fast", "reference")


def atomic_write(volume):
    return view_of(volume.shape[1:], (1.0, 1.0), None)


@pytest.fixture
def volume():
    array = np.random.default_rng(1).random((3, 40, 56)).astype(np.float32)
    array[:, 10:30, 15:40] /= 4
    return array


@pytest.mark.parametrize("name", GENERATORS)
def test_the_masks_are_metas_in_metas_order(sam, volume, name):
    rgb = to_rgb_uint8(volume[0])
    found, embedding = make_generator(sam, {**SETTINGS, "generator": name})(rgb)
    metas = {key: value for key, value in SETTINGS.items() if key != "precision"}
    records = SamAutomaticMaskGenerator(sam, **metas).generate(rgb)
    assert len(found) == len(records) > 0
    for i, record in enumerate(records):
        assert np.array_equal(found.masks[i], record["segmentation"])
        assert found.area[i] == record["area"]
        assert np.isclose(found.predicted_iou[i], record["predicted_iou"], atol=1e-5)
        assert found.box[i].tolist() == record["bbox"]
        assert np.allclose(found.point[i], record["point_coords"][0])
        expected = record["stability_score"]
        assert np.isclose(found.stability_score[i], expected, atol=1e-6, equal_nan=True)
    predictor = SamPredictor(sam)
    predictor.set_image(rgb)
    expected = predictor.get_image_embedding()[0].numpy()
    assert embedding.dtype == np.float32
    np.testing.assert_allclose(embedding, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_volume_has_a_file_a_slice_and_an_embedding(sam, volume, tmp_path, name):
    generator = make_generator(sam, {**SETTINGS, "generator": name})
    found = everything_mode(generator, volume, whole(volume), tmp_path, tmp_path / "features.npy")
    stored = np.load(tmp_path / "features.npy", mmap_mode="r", allow_pickle=False)
    assert stored.shape == (3, CHANNELS, 4, 4)
    assert stored.dtype == np.float16
    total = 0
    for z in range(3):
        masks, embedding = generator(to_rgb_uint8(volume[z]))
        read = read_slice_masks(slice_file(tmp_path, z))
        assert np.array_equal(read.masks, masks.masks)
        np.testing.assert_allclose(stored[z], embedding, atol=2e-3, rtol=2e-3)
        total += len(read)
    assert found == total


@pytest.mark.parametrize("name", GENERATORS)
def test_of_a_view_sam_sees_nothing_else(sam, volume, tmp_path, name):
    """The masks are those of the slice cut out, at their place in the slice."""
    generator = make_generator(sam, {**SETTINGS, "generator": name})
    view = View(5, 8, 30, 36)
    everything_mode(generator, volume, view, tmp_path, tmp_path / "features.npy")
    stored = np.load(tmp_path / "features.npy")
    for z in range(3):
        cut = np.ascontiguousarray(volume[z, 5:35, 8:44])
        expected, embedding = generator(to_rgb_uint8(cut))
        read = read_slice_masks(slice_file(tmp_path, z))
        assert len(read) == len(expected) > 0
        assert read.masks.shape[1:] == (40, 56)
        assert np.array_equal(read.masks[:, 5:35, 8:44], expected.masks)
        assert np.array_equal(read.area, expected.area)  # so none lies outside of the view
        assert np.array_equal(read.box, expected.box + np.array([8, 5, 0, 0]))
        assert np.array_equal(read.point, expected.point + np.float32([8, 5]))
        np.testing.assert_allclose(stored[z], embedding, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize(
    ("shape", "spacing", "side", "expected"),
    [
        ((160, 160), (1.25, 1.25), None, View(0, 0, 160, 160)),
        ((160, 160), (1.25, 1.25), 150, View(20, 20, 120, 120)),
        ((256, 320), (0.5, 1.0), 100, View(28, 110, 200, 100)),  # 100 mm along both
        ((64, 320), (1.0, 1.0), 100, View(0, 110, 64, 100)),  # shorter along y: all of it
        ((41, 40), (1.0, 1.0), 20.4, View(10, 10, 20, 20)),
        ((8, 8), (1.0, 1.0), 0.1, View(3, 3, 1, 1)),
    ],
)
def test_a_view_is_a_central_square_in_mm(shape, spacing, side, expected):
    assert view_of(shape, spacing, side) == expected


def test_a_mask_file_that_cannot_be_written_ends_the_run(sam, volume, tmp_path, monkeypatch):
    def full(path, masks):
        raise OSError("No space left on device")

    monkeypatch.setattr("umsam.pseudo_labels.everything_mode.write_slice_masks", full)
    generator = make_generator(sam, {**SETTINGS, "generator": "fast"})
    with pytest.raises(OSError, match="No space left"):
        everything_mode(generator, volume, whole(volume), tmp_path, tmp_path / "features.npy")


def test_slices_leave_nothing_behind(sam, volume):
    generator = make_generator(sam, {**SETTINGS, "generator": "fast"})

    def tensors():
        gc.collect()
        return sum(torch.is_tensor(x) for x in gc.get_objects())

    generator(to_rgb_uint8(volume[0]))
    before = tensors()
    for _ in range(20):
        generator(to_rgb_uint8(volume[1]))
    assert tensors() <= before


@pytest.mark.skipif(importlib.util.find_spec("cv2") is not None, reason="OpenCV is there")
def test_small_regions_need_opencv(sam):
    with pytest.raises(InputError, match=r"min_mask_region_area.*opencv"):
        make_generator(sam, {**SETTINGS, "generator": "fast", "min_mask_region_area": 5})
