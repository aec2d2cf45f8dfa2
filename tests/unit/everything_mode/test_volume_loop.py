"""Everything mode on a volume: its generators, its files and its memory."""

import gc
import importlib.util

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from tiny_sam import CHANNELS, SETTINGS

from umsam.data.field_of_view import View
from umsam.data.intensity import to_rgb_uint8
from umsam.data.masks import read_slice_masks, slice_file
from umsam.errors import InputError
from umsam.everything_mode.volume_loop import make_generator, segment_volume

GENERATORS = ("fast", "reference")


def whole_slice(volume):
    return View(0, 0, *volume.shape[1:])


@pytest.fixture
def volume():
    array = np.random.default_rng(1).random((3, 40, 56)).astype(np.float32)
    array[:, 10:30, 15:40] /= 4
    return array


@pytest.mark.parametrize("name", GENERATORS)
def test_masks_equal_those_of_meta_in_the_same_order(sam, volume, name):
    rgb = to_rgb_uint8(volume[0])
    masks, embedding = make_generator(sam, {**SETTINGS, "generator": name})(rgb)
    meta_settings = {key: value for key, value in SETTINGS.items() if key != "precision"}
    records = SamAutomaticMaskGenerator(sam, **meta_settings).generate(rgb)
    assert len(masks) == len(records) > 0
    for i, record in enumerate(records):
        assert np.array_equal(masks.masks[i], record["segmentation"])
        assert masks.area[i] == record["area"]
        assert np.isclose(masks.predicted_iou[i], record["predicted_iou"], atol=1e-5)
        assert masks.box[i].tolist() == record["bbox"]
        assert np.allclose(masks.point[i], record["point_coords"][0])
        expected = record["stability_score"]
        assert np.isclose(masks.stability_score[i], expected, atol=1e-6, equal_nan=True)
    predictor = SamPredictor(sam)
    predictor.set_image(rgb)
    expected = predictor.get_image_embedding()[0].numpy()
    assert embedding.dtype == np.float32
    np.testing.assert_allclose(embedding, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_volume_yields_one_file_per_slice_and_all_embeddings(sam, volume, tmp_path, name):
    generator = make_generator(sam, {**SETTINGS, "generator": name})
    count = segment_volume(
        generator, volume, whole_slice(volume), tmp_path, tmp_path / "features.npy"
    )
    embeddings = np.load(tmp_path / "features.npy", mmap_mode="r", allow_pickle=False)
    assert embeddings.shape == (3, CHANNELS, 4, 4)
    assert embeddings.dtype == np.float16
    total = 0
    for z in range(3):
        masks, embedding = generator(to_rgb_uint8(volume[z]))
        read = read_slice_masks(slice_file(tmp_path, z))
        assert np.array_equal(read.masks, masks.masks)
        np.testing.assert_allclose(embeddings[z], embedding, atol=2e-3, rtol=2e-3)
        total += len(read)
    assert count == total


@pytest.mark.parametrize("name", GENERATORS)
def test_masks_of_a_view_equal_those_of_the_cropped_slice(sam, volume, tmp_path, name):
    """They are stored at their position in the whole slice."""
    generator = make_generator(sam, {**SETTINGS, "generator": name})
    view = View(5, 8, 30, 36)
    segment_volume(generator, volume, view, tmp_path, tmp_path / "features.npy")
    embeddings = np.load(tmp_path / "features.npy")
    for z in range(3):
        cropped = np.ascontiguousarray(volume[z, 5:35, 8:44])
        expected, embedding = generator(to_rgb_uint8(cropped))
        read = read_slice_masks(slice_file(tmp_path, z))
        assert len(read) == len(expected) > 0
        assert read.masks.shape[1:] == (40, 56)
        assert np.array_equal(read.masks[:, 5:35, 8:44], expected.masks)
        assert np.array_equal(read.area, expected.area)  # so none lies outside the view
        assert np.array_equal(read.box, expected.box + np.array([8, 5, 0, 0]))
        assert np.array_equal(read.point, expected.point + np.float32([8, 5]))
        np.testing.assert_allclose(embeddings[z], embedding, atol=2e-3, rtol=2e-3)


def test_an_error_while_writing_masks_is_raised(sam, volume, tmp_path, monkeypatch):
    def write_to_full_disk(path, masks):
        raise OSError("No space left on device")

    monkeypatch.setattr("umsam.everything_mode.volume_loop.write_slice_masks", write_to_full_disk)
    generator = make_generator(sam, {**SETTINGS, "generator": "fast"})
    with pytest.raises(OSError, match="No space left"):
        segment_volume(generator, volume, whole_slice(volume), tmp_path, tmp_path / "features.npy")


def test_repeated_slices_do_not_accumulate_tensors(sam, volume):
    generator = make_generator(sam, {**SETTINGS, "generator": "fast"})

    def count_tensors():
        gc.collect()
        return sum(torch.is_tensor(x) for x in gc.get_objects())

    generator(to_rgb_uint8(volume[0]))
    before = count_tensors()
    for _ in range(20):
        generator(to_rgb_uint8(volume[1]))
    assert count_tensors() <= before


@pytest.mark.skipif(importlib.util.find_spec("cv2") is not None, reason="OpenCV is installed")
def test_removing_small_regions_without_opencv_names_the_remedy(sam):
    with pytest.raises(InputError, match=r"min_mask_region_area.*opencv"):
        make_generator(sam, {**SETTINGS, "generator": "fast", "min_mask_region_area": 5})
