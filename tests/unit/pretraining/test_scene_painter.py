"""What is painted is where it should be, and owned by the object it is part of."""

import numpy as np
import pytest
from scipy import ndimage

from umsam.pretraining.scene_painter import EVERYWHERE, Painter, Shape


def test_packed_cells_fill_their_region_and_touch():
    """Nearly every pixel of the region is a cell's; cells are connected and apart."""
    covered = []
    for seed in range(8):
        painter = Painter(np.random.default_rng(seed), 96)
        inside = np.zeros((96, 96), bool)
        inside[10:80, 20:90] = True
        body = painter.new_object(EVERYWHERE, inside, -1)
        painter.pack(inside, body)
        assert len(painter.parents) > 3
        assert set(painter.parents[1:]) == {body}
        assert (painter.owner[~inside] == -1).all()
        covered.append((painter.owner[inside] != body).mean())
        for cell in range(1, len(painter.parents)):
            assert ndimage.label(painter.owner == cell)[1] == 1
    assert min(covered) > 0.7
    assert np.mean(covered) > 0.9


def test_an_inner_zone_stays_in_its_organ():
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
    assert 4 <= zones <= 16  # every second one is an object


def test_a_mixed_organ_is_one_object_of_several_tissues():
    """To its edge, where it may have a thin capsule; every second inner zone is one more object.

    Around some organs is a halo of vessels, which is not the organ's.
    """
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
    assert 8 <= zones <= 30  # of the 60 % that have a crescent
    assert 10 <= halos <= 32  # 35 %, but for the thinnest
    assert mixed > 45


def test_organs_like_their_surroundings_have_a_capsule():
    """Of those with the same tissue on both sides of the outline, most are closed by a line."""
    closed = []
    for seed in range(200):
        painter = Painter(np.random.default_rng(seed), 96)
        painter.fill(EVERYWHERE, np.ones((96, 96), bool), 1)
        painter.mixed_organ(48, 48, 20, -1)
        organ, same = painter.owner >= 0, painter.tissue == 1
        outside = _band(organ, -8, -3)
        inside = _band(organ, 3, 4)
        if same[outside].mean() < 0.95 or same[inside].mean() < 0.4:
            continue  # a halo, or another tissue
        connected, _ = ndimage.label(same)
        closed.append((connected[inside & same] != connected[0, 0]).mean() > 0.9)
    assert len(closed) >= 15
    assert np.mean(closed) > 0.5


def _band(organ, outer: int, inner: int) -> np.ndarray:
    """Pixels between so many pixels within the outline, negative: outside of it."""

    def within(depth):
        change = ndimage.binary_erosion if depth > 0 else ndimage.binary_dilation
        return change(organ, iterations=abs(depth))

    return within(outer) & ~within(inner)


def test_a_mirrored_shape_is_its_mirror_image():
    for seed in range(10):
        shape = Shape(np.random.default_rng(seed), 96, 48, 47.6, 15, "harmonic")
        before = shape.level.copy()
        shape.mirror()
        assert np.array_equal(shape.level, shape.level[:, ::-1])
        assert shape.level.mean() == pytest.approx(before.mean(), rel=1e-5)


def test_a_shape_cut_off_at_one_side_is_not_mirrored():
    shape = Shape(np.random.default_rng(0), 96, 48, 20, 15, "harmonic")
    before = shape.level.copy()
    shape.mirror()
    assert np.array_equal(shape.level, before)


def test_mirrored_cells_lie_left_as_right():
    for seed in range(5):
        painter = Painter(np.random.default_rng(seed), 96)
        painter.pack(np.ones((96, 96), bool), -1, mirrored=True)
        cells = painter.owner >= 0
        borders = np.diff(painter.owner, axis=0) != 0
        assert (cells == cells[:, ::-1]).mean() > 0.7
        assert (borders == borders[:, ::-1]).mean() > 0.95


def test_organs_of_a_column_are_pressed_on_each_other():
    """From the first to the last they are one region, which reaches the middle of the image."""
    for seed in range(20):
        painter = Painter(np.random.default_rng(seed), 128)
        painter.column(-1)
        organs = ndimage.binary_dilation(painter.owner >= 0, iterations=3)
        whole = painter.parents.count(-1)
        assert 1 <= whole <= 3
        assert ndimage.label(organs)[1] <= whole
        assert organs[:, 48:80].any()
