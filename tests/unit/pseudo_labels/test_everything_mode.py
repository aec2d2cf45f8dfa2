"""Everything mode against segment_anything called directly."""

import importlib.util

import numpy as np
import pytest
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from tiny_sam import CHANNELS, SETTINGS

from umsam.errors import InputError
from umsam.pseudo_labels.everything_mode import check_settings, everything_mode


@pytest.fixture
def rgb():
    grey = np.random.default_rng(1).integers(0, 255, (40, 56, 1), np.uint8)
    grey[10:30, 15:40] //= 4
    return np.repeat(grey, 3, axis=2)


def counted(sam):
    passes = []
    sam.image_encoder.register_forward_hook(lambda *a: passes.append(1))
    return passes


def test_the_masks_are_metas_in_metas_order(sam, rgb):
    found, _ = everything_mode(sam, rgb, SETTINGS)
    records = SamAutomaticMaskGenerator(sam, **SETTINGS).generate(rgb)
    assert len(found) == len(records) > 0
    for i, record in enumerate(records):
        assert np.array_equal(found.masks[i], record["segmentation"])
        assert found.area[i] == record["area"]
        assert found.predicted_iou[i] == np.float32(record["predicted_iou"])
        assert found.box[i].tolist() == record["bbox"]
        assert np.allclose(found.point[i], record["point_coords"][0])
        expected = record["stability_score"]
        assert np.isclose(found.stability_score[i], expected, equal_nan=True)


def test_one_encoder_pass_gives_the_embedding_too(sam, rgb):
    predictor = SamPredictor(sam)
    predictor.set_image(rgb)
    expected = predictor.get_image_embedding()[0].numpy()
    passes = counted(sam)
    _, embedding = everything_mode(sam, rgb, SETTINGS)
    assert len(passes) == 1
    assert embedding.shape == (CHANNELS, 4, 4)
    assert embedding.dtype == np.float32
    np.testing.assert_array_equal(embedding, expected)


def test_crops_do_not_replace_the_embedding(sam, rgb):
    _, whole = everything_mode(sam, rgb, SETTINGS)
    passes = counted(sam)
    _, embedding = everything_mode(sam, rgb, {**SETTINGS, "crop_n_layers": 1})
    assert len(passes) == 5
    np.testing.assert_array_equal(embedding, whole)


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("threshold", ["pred_iou_thresh", "stability_score_thresh"])
def test_no_mask_is_no_error(sam, rgb, threshold, layers):
    settings = {**SETTINGS, threshold: 1e6, "crop_n_layers": layers}
    found, embedding = everything_mode(sam, rgb, settings)
    assert len(found) == 0
    assert found.masks.shape == (0, 40, 56)
    assert np.isfinite(embedding).all()


def test_the_hook_is_gone_afterwards(sam, rgb):
    everything_mode(sam, rgb, SETTINGS)
    assert not sam.image_encoder._forward_hooks


@pytest.mark.skipif(importlib.util.find_spec("cv2") is not None, reason="OpenCV is there")
def test_small_regions_need_opencv():
    with pytest.raises(InputError, match=r"min_mask_region_area.*opencv"):
        check_settings({**SETTINGS, "min_mask_region_area": 5})
    check_settings(SETTINGS)
