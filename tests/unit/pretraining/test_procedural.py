"""Procedural scenes are reproducible, and their objects have the documented properties."""

import numpy as np
import pytest
from scipy import ndimage

from umsam.pretraining.procedural import LARGEST_AREA, SMALLEST_AREA, random_scene

SEEDS = range(12)


@pytest.fixture(scope="module")
def scenes():
    return [random_scene(seed, 128) for seed in SEEDS]


def test_a_seed_determines_the_scene(scenes):
    again = random_scene(3, 128)
    assert np.array_equal(again.image, scenes[3].image)
    assert np.array_equal(again.masks, scenes[3].masks)
    assert not np.array_equal(again.image, scenes[4].image)


def test_images_are_finite_and_use_the_range_of_grey_values(scenes):
    for scene in scenes:
        assert scene.image.shape == (128, 128)
        assert scene.image.dtype == np.float32
        assert np.isfinite(scene.image).all()
        assert scene.image.min() >= 0
        assert scene.image.max() <= 1
        assert np.ptp(scene.image) > 0.5


def test_the_area_of_every_object_is_within_the_limits(scenes):
    for scene in scenes:
        area = scene.masks.mean((1, 2))
        assert len(area) >= 1
        assert area.min() >= SMALLEST_AREA
        assert area.max() <= LARGEST_AREA


def test_parents_contain_their_children_and_come_first(scenes):
    nested = 0
    for scene in scenes:
        for child, parent in enumerate(scene.parent):
            if parent >= 0:
                nested += 1
                assert parent < child
                assert not (scene.masks[child] & ~scene.masks[parent]).any()
                assert scene.masks[child].sum() < scene.masks[parent].sum()
    assert nested > len(scenes)


def test_objects_are_nested_or_disjoint(scenes):
    for scene in scenes:
        for a in range(len(scene.masks)):
            ancestors, b = set(), scene.parent[a]
            while b >= 0:
                ancestors.add(int(b))
                b = scene.parent[b]
            for b in range(a):
                if b not in ancestors:
                    assert not (scene.masks[a] & scene.masks[b]).any()


def test_innermost_is_the_deepest_object(scenes):
    for scene in scenes:
        depth = np.array([scene.masks[:, y, x].sum() for y, x in np.ndindex(128, 128)])
        labels = scene.innermost.ravel()
        assert ((labels < 0) == (depth == 0)).all()
        children = {int(p) for p in scene.parent if p >= 0}
        for index in set(range(len(scene.masks))) - children:
            assert (scene.innermost[scene.masks[index]] == index).all()


def test_most_objects_are_visible():
    """Most objects differ from the ring around them in mean or standard deviation."""
    visible = []
    for seed in range(60):
        scene = random_scene(seed, 128)
        for mask in scene.masks:
            ring = ndimage.binary_dilation(mask, iterations=3) & ~mask
            inside, outside = scene.image[mask], scene.image[ring]
            visible.append(
                abs(inside.mean() - outside.mean()) > 0.05
                or abs(inside.std() - outside.std()) > 0.03
            )
    assert np.mean(visible) > 0.8
