"""ROI pooling against a plain loop over pixels (eq. 4)."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umsam.pseudo_labels.roi_features import (
    concatenate_features,
    mean_over_masks,
    overlap,
    pad_to_square,
    read_roi_features,
    rims,
    write_roi_features,
)


def looped(feature_map, mask):
    """The mean of the features of the mask's pixels, each pixel in one patch."""
    _, h, w = feature_map.shape
    height, width = mask.shape
    total, count = np.zeros(len(feature_map)), 0
    for y in range(height):
        for x in range(width):
            if mask[y, x]:
                total += feature_map[:, y * h // height, x * w // width]
                count += 1
    return total / count


@settings(max_examples=40, deadline=None)
@given(
    h=st.integers(1, 4),
    w=st.integers(1, 4),
    p=st.integers(1, 5),
    q=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_equals_a_plain_loop(h, w, p, q, seed):
    rng = np.random.default_rng(seed)
    feature_map = rng.normal(size=(3, h, w))
    masks = rng.random((4, h * p, w * q)) < 0.3
    masks[:, rng.integers(h * p), rng.integers(w * q)] = True
    expected = [looped(feature_map, mask) for mask in masks]
    np.testing.assert_allclose(mean_over_masks(feature_map, masks), expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(h=st.integers(1, 5), w=st.integers(1, 5), height=st.integers(1, 7), width=st.integers(1, 7))
def test_any_sizes_equal_the_loop_on_a_common_grid(h, w, height, width):
    """Enlarged to a grid that both divide, straddling pixels are pixels of single patches."""
    rng = np.random.default_rng(h + 10 * w + 100 * height + 1000 * width)
    feature_map = rng.normal(size=(2, h, w))
    mask = rng.random((height, width)) < 0.5
    mask[0, 0] = True
    common = np.repeat(np.repeat(mask, h, axis=0), w, axis=1)
    np.testing.assert_allclose(
        mean_over_masks(feature_map, mask[None])[0],
        looped(feature_map, common),
        rtol=1e-5,
        atol=1e-6,
    )


def test_one_pixel_has_its_patchs_feature():
    feature_map = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    mask = np.zeros((1, 24, 32), bool)
    mask[0, 9, 31] = True
    assert mean_over_masks(feature_map, mask)[0, 0] == feature_map[0, 1, 3]


def test_the_whole_slice_has_the_mean_feature():
    feature_map = np.random.default_rng(0).normal(size=(5, 3, 4))
    features = mean_over_masks(feature_map, np.ones((1, 10, 17), bool))
    np.testing.assert_allclose(features[0], feature_map.mean(axis=(1, 2)), rtol=1e-5)


def test_every_pixel_is_shared_out():
    for patches, pixels in [(7, 10), (10, 7), (28, 112), (1, 5), (5, 1)]:
        shares = overlap(patches, pixels)
        np.testing.assert_allclose(shares.sum(axis=0), 1)
        np.testing.assert_allclose(shares.sum(axis=1), pixels / patches)


def test_no_roi():
    features = mean_over_masks(np.zeros((6, 2, 2)), np.zeros((0, 8, 8), bool))
    assert features.shape == (0, 6)


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="empty"):
        mean_over_masks(np.zeros((6, 2, 2)), np.zeros((1, 8, 8), bool))


def test_masks_in_sams_square():
    """SAM pads at the right and bottom: a map of its coordinates gives an ROI's own centre."""
    masks = np.zeros((2, 20, 32), bool)
    masks[0, 4:8, 8:16] = True
    masks[1, 16:20, 28:32] = True
    centres = np.arange(2, 32, 4.0)  # of 8 x 8 cells over the 32 x 32 square
    coordinates = np.stack(np.meshgrid(centres, centres, indexing="ij"))
    pooled = mean_over_masks(coordinates, pad_to_square(masks))
    assert np.allclose(pooled, [[6, 12], [18, 30]])


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(2, 12),
    columns=st.integers(2, 12),
    width=st.floats(0.0, 1.0),
    seed=st.integers(0, 999),
)
def test_a_rim_is_what_is_near_a_mask_and_not_in_it(height, columns, width, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((height, columns)) < rng.uniform(0.02, 0.5)
    mask[rng.integers(height), rng.integers(columns)] = True
    mask[0, 0] = False  # something is left outside
    mask[-1, -1] |= not mask.any()
    inside, everywhere = np.argwhere(mask), np.argwhere(np.ones_like(mask))
    distance = np.hypot(*(everywhere[:, None] - inside[None]).transpose(2, 0, 1)).min(axis=1)
    near = distance <= max(1.0, width * np.sqrt(len(inside)))
    expected = near.reshape(mask.shape) & ~mask
    np.testing.assert_array_equal(rims(mask[None], width)[0], expected)


def test_the_rim_of_what_fills_the_slice_is_itself():
    masks = np.ones((2, 5, 7), bool)
    masks[1, 2:] = False
    whole, rest = rims(masks, 0.2)
    assert whole.all()
    np.testing.assert_array_equal(np.flatnonzero(rest.any(axis=1)), [2])


def test_features_of_several_maps_count_alike():
    few, many = np.array([[3.0, 4.0], [0.0, 0.0]], "f4"), np.full((2, 4), 7, "f4")
    assert concatenate_features([few]) is few
    both = concatenate_features([few, many])
    np.testing.assert_allclose(both, [[0.6, 0.8, *[0.5] * 4], [0, 0, *[0.5] * 4]], rtol=1e-6)


def test_what_is_written_is_read(tmp_path):
    rois = pd.DataFrame({"slice": [0, 0, 3], "index": [1, 4, 0]})
    features = np.random.default_rng(0).normal(size=(3, 5)).astype("f4")
    write_roi_features(tmp_path / "a.npz", rois, features)
    read, keys = read_roi_features(tmp_path / "a.npz")
    np.testing.assert_array_equal(read, features)
    assert keys.tolist() == [[0, 1], [0, 4], [3, 0]]
