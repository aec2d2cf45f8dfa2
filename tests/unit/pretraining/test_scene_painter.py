"""The painter paints objects at the right place, and records which object owns a pixel."""

import numpy as np
import pytest
from scipy import ndimage

from umsam.pretraining.scene_painter import EVERYWHERE, Painter, Shape


def test_packed_cells_fill_their_region():
    """Cells cover nearly every pixel of the region, and each cell is connected."""
    coverage = []
    for seed in range(8):
        painter = Painter(np.random.default_rng(seed), 96)
        inside = np.zeros((96, 96), bool)
        inside[10:80, 20:90] = True
        body = painter.new_object(EVERYWHERE, inside, -1)
        painter.pack(inside, body)
        assert len(painter.parents) > 3
        assert set(painter.parents[1:]) == {body}
        assert (painter.owner[~inside] == -1).all()
        coverage.append((painter.owner[inside] != body).mean())
        for cell in range(1, len(painter.parents)):
            assert ndimage.label(painter.owner == cell)[1] == 1
    assert min(coverage) > 0.7
    assert np.mean(coverage) > 0.9


def test_an_inner_zone_lies_in_its_organ():
    zones = 0
    for seed in range(20):
        painter = Painter(np.random.default_rng(seed), 96)
        y, x = np.mgrid[:96, :96] - 48
        organ = np.hypot(y, x) < 25
        index = painter.new_object(EVERYWHERE, organ, -1)
        painter.fill(EVERYWHERE, organ, 1)
        painter.zones(48, 48, 25, EVERYWHERE, organ, index)
        assert ((painter.owner >= 0) == organ).all()
        assert (painter.tissue[~organ] == 0).all()
        assert len(np.unique(painter.tissue[organ])) > 1
        zones += painter.parents == [-1, index]
    assert 4 <= zones <= 16  # half of them are objects


def test_a_mixed_organ_is_one_connected_object_of_several_tissues():
    """Some inner zones are objects, too, and some organs have a halo that is not part of them."""
    zones, mixed, halos = 0, 0, 0
    for seed in range(60):
        painter = Painter(np.random.default_rng(seed), 96)
        painter.mixed_organ(48, 48, 16, -1)
        organ = painter.owner >= 0
        assert ndimage.label(organ)[1] == 1
        assert painter.parents in ([-1], [-1, 0])
        beside = ndimage.binary_dilation(organ, iterations=3)
        around = ndimage.binary_dilation(organ, iterations=20)
        assert (painter.tissue[~around] == 0).all()
        halos += (painter.tissue[~beside] > 0).any()
        zones += len(painter.parents) == 2
        mixed += len(np.unique(painter.tissue[organ])) > 1
    assert 8 <= zones <= 30  # half of the 60 % with a crescent
    assert 10 <= halos <= 32  # 35 %, except for the thinnest
    assert mixed > 45


def test_organs_that_look_like_their_surroundings_have_a_capsule():
    """If both sides of the outline have the same tissue, a closed capsule usually lies between."""
    is_closed = []
    for seed in range(200):
        painter = Painter(np.random.default_rng(seed), 96)
        painter.fill(EVERYWHERE, np.ones((96, 96), bool), 1)
        painter.mixed_organ(48, 48, 20, -1)
        organ, same = painter.owner >= 0, painter.tissue == 1
        outside = _band(organ, -8, -3)
        inside = _band(organ, 3, 4)
        if same[outside].mean() < 0.95 or same[inside].mean() < 0.4:
            continue  # a halo or another tissue
        connected, _ = ndimage.label(same)
        is_closed.append((connected[inside & same] != connected[0, 0]).mean() > 0.9)
    assert len(is_closed) >= 15
    assert np.mean(is_closed) > 0.5


def _band(organ, outer: int, inner: int) -> np.ndarray:
    """Pixels whose depth inside the outline lies between two values; negative is outside."""

    def within(depth):
        change = ndimage.binary_erosion if depth > 0 else ndimage.binary_dilation
        return change(organ, iterations=abs(depth))

    return within(outer) & ~within(inner)


def test_a_mirrored_shape_is_symmetric():
    for seed in range(10):
        shape = Shape(np.random.default_rng(seed), 96, 48, 47.6, 15, "harmonic")
        before = shape.level.copy()
        shape.mirror()
        assert np.array_equal(shape.level, shape.level[:, ::-1])
        assert shape.level.mean() == pytest.approx(before.mean(), rel=1e-5)


def test_a_shape_that_the_image_edge_cuts_off_is_not_mirrored():
    shape = Shape(np.random.default_rng(0), 96, 48, 20, 15, "harmonic")
    before = shape.level.copy()
    shape.mirror()
    assert np.array_equal(shape.level, before)


def test_mirrored_cells_are_symmetric():
    for seed in range(5):
        painter = Painter(np.random.default_rng(seed), 96)
        painter.pack(np.ones((96, 96), bool), -1, mirrored=True)
        cells = painter.owner >= 0
        borders = np.diff(painter.owner, axis=0) != 0
        assert (cells == cells[:, ::-1]).mean() > 0.7
        assert (borders == borders[:, ::-1]).mean() > 0.95


def test_organs_of_a_column_touch():
    """They form one region, which reaches the middle of the image."""
    for seed in range(20):
        painter = Painter(np.random.default_rng(seed), 128)
        painter.column(-1)
        organs = ndimage.binary_dilation(painter.owner >= 0, iterations=3)
        count = painter.parents.count(-1)
        assert 1 <= count <= 3
        assert ndimage.label(organs)[1] <= count
        assert organs[:, 48:80].any()
