"""What a DINO is adapted on: neighbouring slices whose ROIs are known to be the same, or not."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from umsam.errors import InputError
from umsam.pretraining.slice_pairs import WINDOW, CaseRois, cut, painted, slice_pairs
from umsam.models.dino import Dino
from umsam.data.masks import SliceMasks, write_slice_masks

SIDE = 96


def square(y, x, side):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y : y + side, x : x + side] = True
    return mask


def dino(image_size=SIDE, patch=8):
    embedding = SimpleNamespace(patch_size=(patch, patch))
    return Dino(SimpleNamespace(patch_embed=embedding), image_size)


def case(folder, *slices):
    """A case whose slice z is z / 10 everywhere, with these squares (y, x, side) as valid ROIs."""
    rows = []
    for z, squares in enumerate(slices):
        masks = np.array([square(*s) for s in squares], bool).reshape(-1, SIDE, SIDE)
        k = len(masks)
        found = SliceMasks(masks, np.ones(k, np.float32), np.ones(k, np.float32),
                           np.zeros((k, 4), np.int32), np.zeros((k, 2), np.float32))  # fmt: skip
        write_slice_masks(folder / f"slice_{z:03d}.npz", found)
        for index, (y, x, side) in enumerate(squares):
            centre = {"x": (x + side / 2) / SIDE, "y": (y + side / 2) / SIDE}
            rows.append({"slice": z, "index": index, **centre})
    volume = np.repeat(np.arange(len(slices)) / 10, SIDE * SIDE).reshape(-1, SIDE, SIDE)
    return CaseRois(volume, pd.DataFrame(rows, columns=["slice", "index", "x", "y"]), folder)


def test_an_roi_that_goes_on_keeps_its_number_and_a_new_one_gets_its_own():
    stays, moved, gone, new = (
        square(10, 10, 20), square(12, 10, 20), square(60, 60, 9), square(5, 70, 9)
    )  # fmt: skip
    here, there = painted(np.stack([stays, gone]), np.stack([new, moved]))
    assert (here[stays] == 0).all()
    assert (here[gone] == 1).all()
    assert (there[moved] == 0).all()
    assert np.unique(there[new]).item() not in (-1, 0, 1)
    assert (here[~stays & ~gone] == -1).all()


def test_at_half_of_the_union_rois_are_one_thing_and_below_they_are_not():
    wide = np.zeros((1, 4, 12), bool)
    wide[:, :, :10] = True
    for columns, same in ((5, True), (4, False)):  # IoU 0.5 and 0.4
        part = np.zeros((1, 4, 12), bool)
        part[:, :, :columns] = True
        assert (painted(wide, part)[1][0, 0] == 0) == same


def test_of_nested_rois_the_innermost_counts():
    outer, inner = square(10, 10, 40), square(20, 20, 10)
    for masks in ([outer, inner], [inner, outer]):
        here, _ = painted(np.stack(masks), np.zeros((0, SIDE, SIDE), bool))
        assert here[25, 25] != here[12, 12]
        assert {here[25, 25], here[12, 12]} == {0, 1}


def test_a_window_is_the_image_where_there_is_one():
    image = np.arange(36).reshape(1, 6, 6)
    np.testing.assert_array_equal(cut(image, (3, 3), 4, -1)[0], image[0, 1:5, 1:5])
    corner = cut(image, (0, 5), 4, -1)[0]
    np.testing.assert_array_equal(corner[2:, :3], image[0, :2, 3:])
    assert (corner[:2] == -1).all()
    assert (corner[:, 3] == -1).all()
    assert cut(image, (6, 6), 8, -1).shape == (1, 8, 8)


def test_a_pair_is_an_roi_and_what_it_becomes_on_the_next_slice(tmp_path):
    squares = [(40, 40, 16), (41, 40, 16), (42, 41, 16)]
    source, count = slice_pairs([case(tmp_path, *[[s] for s in squares])], dino())
    assert count == 3
    for number, neighbour in ((0, 1), (1, 2), (2, 1)):  # the last slice has but the one before
        images, regions = source(number)
        side = WINDOW * 8
        assert images.shape == regions.shape == (2, side, side)
        middle = side // 2
        assert images[:, middle, middle] == pytest.approx([number / 10, neighbour / 10])
        assert (regions[:, middle, middle] == 0).all()
        assert [(r == 0).sum() for r in regions] == [16 * 16] * 2


def test_slices_are_of_the_size_at_which_dino_sees_them(tmp_path):
    source, _ = slice_pairs([case(tmp_path, [(40, 40, 16)])], dino(image_size=48))
    images, regions = source(0)  # a volume of one slice is its own neighbour
    np.testing.assert_array_equal(images[0], images[1])
    assert (regions[0] == 0).sum() == 8 * 8


def test_without_a_valid_roi_there_is_nothing_to_learn(tmp_path):
    with pytest.raises(InputError, match=r"dino\.adapt: no training slice has an ROI"):
        slice_pairs([case(tmp_path, [])], dino())
