"""Procedural scenes: reproducible, and their objects are what they are said to be."""

import numpy as np
import pytest
from scipy import ndimage

from umsam.pretraining.procedural import (
    LARGEST_AREA,
    SMALLEST_AREA,
    _Painter,
    random_scene,
    smooth_noise,
)

SEEDS = range(12)


@pytest.fixture(scope="module")
def scenes():
    return [random_scene(seed, 128) for seed in SEEDS]


def test_a_seed_gives_one_scene(scenes):
    again = random_scene(3, 128)
    assert np.array_equal(again.image, scenes[3].image)
    assert np.array_equal(again.masks, scenes[3].masks)
    assert not np.array_equal(again.image, scenes[4].image)


def test_images_are_finite_and_use_the_range(scenes):
    for scene in scenes:
        assert scene.image.shape == (128, 128)
        assert scene.image.dtype == np.float32
        assert np.isfinite(scene.image).all()
        assert scene.image.min() >= 0
        assert scene.image.max() <= 1
        assert np.ptp(scene.image) > 0.5


def test_every_object_has_a_fair_size(scenes):
    for scene in scenes:
        area = scene.masks.mean((1, 2))
        assert len(area) >= 1
        assert area.min() >= SMALLEST_AREA
        assert area.max() <= LARGEST_AREA


def test_parents_hold_their_children_and_come_first(scenes):
    nested = 0
    for scene in scenes:
        for child, parent in enumerate(scene.parent):
            if parent >= 0:
                nested += 1
                assert parent < child
                assert not (scene.masks[child] & ~scene.masks[parent]).any()
                assert scene.masks[child].sum() < scene.masks[parent].sum()
    assert nested > len(scenes)


def test_objects_are_nested_or_apart(scenes):
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


def test_objects_can_be_seen():
    """Most objects differ in mean or spread from the ring around them; else nothing is learned."""
    seen = []
    for seed in range(60):
        scene = random_scene(seed, 128)
        for mask in scene.masks:
            ring = ndimage.binary_dilation(mask, iterations=3) & ~mask
            inside, outside = scene.image[mask], scene.image[ring]
            seen.append(
                abs(inside.mean() - outside.mean()) > 0.05
                or abs(inside.std() - outside.std()) > 0.03
            )
    assert np.mean(seen) > 0.8


def test_packed_cells_fill_their_region_and_touch():
    """Every pixel of the region is a cell's, but for slivers; cells are connected and apart."""
    everywhere = (slice(None), slice(None))
    for seed in range(5):
        painter = _Painter(np.random.default_rng(seed), 96)
        inside = np.zeros((96, 96), bool)
        inside[10:80, 20:90] = True
        body = painter.new_object(everywhere, inside, -1)
        painter.pack(inside, body)
        assert len(painter.parents) > 3
        assert set(painter.parents[1:]) == {body}
        assert (painter.owner[~inside] == -1).all()
        assert (painter.owner[inside] != body).mean() > 0.8
        for cell in range(1, len(painter.parents)):
            assert ndimage.label(painter.owner == cell)[1] == 1


def test_an_inner_zone_stays_in_its_organ():
    zones = 0
    for seed in range(20):
        painter = _Painter(np.random.default_rng(seed), 96)
        y, x = np.mgrid[:96, :96] - 48
        organ = np.hypot(y, x) < 25
        everywhere = (slice(None), slice(None))
        index = painter.new_object(everywhere, organ, -1)
        painter.fill(everywhere, organ, 1)
        painter.zones(48, 48, 25, everywhere, organ, index)
        assert ((painter.owner >= 0) == organ).all()
        assert (painter.tissue[~organ] == 0).all()
        assert len(np.unique(painter.tissue[organ])) > 1
        zones += painter.parents == [-1, index]
    assert 4 <= zones <= 16  # every second one is an object


def test_a_mixed_organ_is_one_object_of_several_tissues():
    """To its edge, where it may have a thin capsule; every second inner zone is one more object."""
    zones, mixed = 0, 0
    for seed in range(40):
        painter = _Painter(np.random.default_rng(seed), 96)
        painter.mixed_organ(48, 48, 20, -1)
        organ = painter.owner >= 0
        assert ndimage.label(organ)[1] == 1
        assert painter.parents in ([-1], [-1, 0])
        around = ndimage.binary_dilation(organ, iterations=3)
        assert (painter.tissue[~around] == 0).all()
        assert (painter.tissue[organ] > 0).all()
        zones += len(painter.parents) == 2
        mixed += len(np.unique(painter.tissue[organ])) > 1
    assert 5 <= zones <= 20  # of the 60 % that have a crescent
    assert mixed > 30


def test_smooth_noise_has_the_scale_it_is_asked_for():
    rng = np.random.default_rng(0)
    coarse, fine = (
        np.mean([np.abs(np.diff(smooth_noise(rng, 128, n, n), axis=0)).mean() for _ in range(8)])
        for n in (4, 32)
    )
    assert fine > 4 * coarse
