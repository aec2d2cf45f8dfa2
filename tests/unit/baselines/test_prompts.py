"""Simulated prompts: invariants for arbitrary masks, and closed forms for boxes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from umsam.baselines.prompts import (
    RING,
    background_point,
    foreground_point,
    prompt_slice,
    scaled_box,
)

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


def pixel(point):
    """Row and column of the pixel that a point lies in."""
    return int(np.floor(point[1])), int(np.floor(point[0]))


def depth_by_brute_force(mask):
    """Distance of each pixel of a mask to the nearest pixel outside the mask or the image."""
    outside = np.argwhere(~np.pad(mask, 1)) - 1
    inside = np.argwhere(mask)
    distances = np.linalg.norm(inside[:, None] - outside[None], axis=2).min(axis=1)
    return dict(zip(map(tuple, inside), distances, strict=True))


@settings(max_examples=80, deadline=None)
@given(MASKS)
def test_the_foreground_point_is_the_deepest_of_the_largest_component(mask):
    if not mask.any():
        with pytest.raises(ValueError, match="no foreground"):
            foreground_point(mask)
        return
    place = pixel(foreground_point(mask))
    assert mask[place]
    components, count = ndimage.label(mask, np.ones((3, 3)))
    sizes = ndimage.sum_labels(mask, components, range(1, count + 1))
    component = components == components[place]
    assert component.sum() == sizes.max()
    depth = depth_by_brute_force(component)
    assert depth[place] == pytest.approx(max(depth.values()))


@settings(max_examples=150, deadline=None)
@given(MASKS, st.integers(0, 2**31))
def test_the_background_point_is_outside_the_mask_and_next_to_its_box(mask, seed):
    point = background_point(mask, seed)
    if not mask.any() or mask.all():
        assert point is None
        return
    place = pixel(point)
    assert not mask[place]
    assert point == background_point(mask, seed)  # seeded
    x0, y0, x1, y1 = scaled_box(mask, 1.0)
    if (x0, y0, x1, y1) == (0, 0, mask.shape[1], mask.shape[0]):
        return  # the box fills the image: any pixel outside the mask
    x, y = point
    assert not (x0 < x < x1 and y0 < y < y1)
    x0, y0, x1, y1 = scaled_box(mask, RING)
    assert x0 - 0.5 < x < x1 + 0.5
    assert y0 - 0.5 < y < y1 + 0.5


def test_background_points_of_all_seeds_fill_the_ring():
    mask = np.zeros((20, 20), bool)
    mask[8:12, 8:12] = True
    pixels = {pixel(background_point(mask, seed)) for seed in range(400)}
    ring = {(y, x) for y in range(7, 13) for x in range(7, 13)} - {
        (y, x) for y in range(8, 12) for x in range(8, 12)
    }
    assert pixels == ring


@settings(max_examples=80, deadline=None)
@given(MASKS.filter(lambda mask: mask.any()), st.floats(1.0, 3.0))
def test_boxes_contain_the_mask_and_stay_in_the_image(mask, scale):
    x0, y0, x1, y1 = scaled_box(mask, scale)
    rows, columns = np.nonzero(mask)
    assert 0 <= x0 <= columns.min()
    assert 0 <= y0 <= rows.min()
    assert columns.max() + 1 <= x1 <= mask.shape[1]
    assert rows.max() + 1 <= y1 <= mask.shape[0]


def test_boxes_grow_about_their_centre_and_are_clipped():
    mask = np.zeros((100, 200), bool)
    mask[40:60, 10:50] = True  # 20 high, 40 wide, centre (30, 50)
    assert scaled_box(mask, 1.0) == (10, 40, 50, 60)
    assert scaled_box(mask, 1.3) == pytest.approx((4, 37, 56, 63))
    assert scaled_box(mask, 1.8) == pytest.approx((0, 32, 66, 68))  # -6 is clipped, 66 stays
    assert scaled_box(mask, 10.0) == (0, 0, 200, 100)
    with pytest.raises(ValueError, match="no foreground"):
        scaled_box(np.zeros((4, 4), bool), 1.3)


def test_the_prompted_slice_has_the_largest_area():
    label = np.zeros((5, 8, 8), bool)
    label[1, :2], label[3, :5], label[4, :5] = True, True, True
    assert prompt_slice(label) == 3
