"""SaLIP with an oracle CLIP and an oracle SAM, and the crops for CLIP."""

import numpy as np
import pytest
from truth_sam import TruthSam

from umsam.baselines.salip import LONGEST, crop_on_black, salip
from umsam.data.intensity import normalise, to_rgb_uint8
from umsam.data.masks import SliceMasks, no_masks
from umsam.data.phantoms import generate_case
from umsam.evaluation.dice import dice

SHAPE = (60, 80)


def slice_masks(masks):
    k = len(masks)
    return SliceMasks(np.stack(masks), np.ones(k, np.float32), np.ones(k, np.float32),
                      np.zeros((k, 4), np.int32), np.zeros((k, 2), np.float32))  # fmt: skip


def rectangle(y, x, rows, columns, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[y : y + rows, x : x + columns] = True
    return mask


def must_not_be_called(*arguments):
    raise AssertionError("CLIP must not be called")


@pytest.mark.parametrize("kind", ["brain", "prostate"])
def test_salip_is_exact_with_an_oracle_clip(kind):
    """Proposals are the organ, shifted copies and the slice; the oracle recognises the organ."""
    array, label, _ = generate_case(kind, "site1-1")
    volume, truth = normalise(array), label > 0
    rng = np.random.default_rng(0)
    proposals = []
    for mask in truth:
        others = [np.roll(mask, rng.integers(12, 40, 2), axis=(0, 1)) for _ in range(3)]
        masks = [*(other for other in others if other.any()), np.ones(mask.shape, bool)]
        if mask.any():
            masks.insert(rng.integers(len(masks) + 1), mask)
        proposals.append(slice_masks(masks))
    positive = truth.any(axis=(1, 2))
    assert 0 < positive.sum() < len(positive)
    organ = [crop_on_black(to_rgb_uint8(volume[z]), truth[z]) for z in np.flatnonzero(positive)]

    def recognise(crops):
        return np.array([float(any(np.array_equal(c, o) for o in organ)) for c in crops])

    sam = TruthSam(volume, truth)
    assert dice(salip(sam, recognise, volume, positive, proposals, 0.5), truth) == 1
    misled = salip(sam, lambda crops: -recognise(crops), volume, positive, proposals, 0.5)
    assert dice(misled, truth) < 0.5


def test_slices_without_the_target_or_without_a_proposal_stay_empty():
    volume = np.full((4, *SHAPE), 0.5, np.float32)
    organ, huge = rectangle(10, 10, 10, 20), rectangle(0, 0, 60, 80)
    proposals = [slice_masks([organ]), no_masks(*SHAPE), slice_masks([huge]), slice_masks([organ])]
    positive = np.array([False, True, True, True])
    sam = TruthSam(volume, np.ones(volume.shape, bool))
    mask = salip(sam, lambda c: np.zeros(len(c)), volume, positive, proposals, 0.25)
    np.testing.assert_array_equal(mask[3], organ)
    assert not mask[:3].any()
    assert len(sam.boxes) == 1
    salip(sam, must_not_be_called, volume[:3], positive[:3], proposals[:3], 0.25)


def test_the_area_limit_is_a_share_of_the_slice():
    """The proposals cover a tenth and a fifth of the slice; CLIP prefers the larger one."""
    volume = np.full((1, *SHAPE), 0.5, np.float32)
    proposals = [slice_masks([rectangle(0, 0, 12, 40), rectangle(30, 0, 24, 40)])]

    def boxes(max_area):
        sam = TruthSam(volume, volume > 0)
        salip(sam, lambda crops: np.array([c.size for c in crops], float), volume,
              np.array([True]), proposals, max_area)  # fmt: skip
        return sam.boxes

    assert boxes(0.3) == [(0, 30, 40, 54)]
    assert boxes(0.2) == [(0, 0, 40, 12)]
    assert boxes(0.1) == []


def test_a_crop_is_black_outside_the_mask():
    rng = np.random.default_rng(0)
    image = np.repeat(rng.integers(1, 256, (*SHAPE, 1)).astype(np.uint8), 3, axis=2)
    mask = rectangle(20, 30, 6, 10)
    mask[22, 33] = False
    crop = crop_on_black(image, mask)
    assert crop.shape == (6, 10, 3)
    assert (crop[2, 3] == 0).all()
    crop[2, 3] = image[22, 33]
    np.testing.assert_array_equal(crop, image[20:26, 30:40])


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 80), (60, 3), (5, 15), (5, 16), (4, 17)])
def test_both_ends_of_a_long_crop_are_cut_off_equally(rows, columns):
    image = np.repeat(np.arange(1, 4801).reshape(*SHAPE, 1).astype(np.uint8), 3, axis=2)
    crop = crop_on_black(image, rectangle(0, 0, rows, columns))
    assert max(crop.shape[:2]) <= LONGEST * min(crop.shape[:2]) + 1
    cut_y, cut_x = (rows - crop.shape[0]) // 2, (columns - crop.shape[1]) // 2
    expected = image[cut_y : rows - cut_y, cut_x : columns - cut_x]
    np.testing.assert_array_equal(crop, expected)
