"""MedCLIP-SAM with a correct saliency map and an oracle SAM: the CRF and the box."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_fill_holes, gaussian_filter
from scipy.ndimage import label as components
from truth_sam import TruthSam

from umsam.baselines.dense_crf import Kernels
from umsam.baselines.medclip_sam import largest_box, medclip_sam, refine_saliency
from umsam.baselines.prompts import scaled_box
from umsam.data.intensity import normalise, to_rgb_uint8
from umsam.data.phantoms import generate_case
from umsam.evaluation.dice import dice

KERNELS = Kernels(3, 3, 60, 5 / 3**0.5, 5)


@pytest.mark.parametrize(("blur", "score"), [(0, 1.0), (1, 0.85)])
@pytest.mark.parametrize("kind", ["brain", "prostate"])
def test_a_correct_saliency_map_gives_the_correct_box(kind, blur, score):
    array, label, _ = generate_case(kind, "site1-1")
    volume, truth = normalise(array), label > 0
    positive = truth.any(axis=(1, 2))
    assert 0 < positive.sum() < len(positive)
    maps = {to_rgb_uint8(v).tobytes(): gaussian_filter(t.astype(float), blur)
             for v, t in zip(volume, truth, strict=True)}  # fmt: skip
    sam = TruthSam(volume, truth)
    mask = medclip_sam(sam, lambda image: maps[image.tobytes()], volume, positive, KERNELS, 1)
    assert dice(mask, truth) >= score
    assert len(sam.boxes) == positive.sum()
    if not blur:
        assert sam.boxes == [scaled_box(truth[z], 1.0) for z in np.flatnonzero(positive)]


def test_for_an_empty_saliency_map_the_box_is_the_whole_slice():
    volume = np.random.default_rng(0).random((2, 30, 40)).astype(np.float32)
    sam = TruthSam(volume, volume > 0.5)
    positive = np.array([False, True])
    mask = medclip_sam(sam, lambda image: np.zeros((30, 40)), volume, positive, KERNELS, 1)
    assert sam.boxes == [(0, 0, 40, 30)]
    np.testing.assert_array_equal(mask[1], volume[1] > 0.5)
    assert not mask[0].any()


def test_without_updates_the_threshold_of_the_saliency_is_one_half():
    """tau and the sigmoid act equally on both labels, so the labels are equal at 0.5."""
    saliency = np.random.default_rng(0).random((20, 20))
    foreground = refine_saliency(saliency, np.zeros((20, 20), np.uint8), KERNELS, 0)
    np.testing.assert_array_equal(foreground, saliency > 0.5)


def test_the_crf_removes_specks_and_restores_the_edge_of_the_object():
    truth = np.zeros((64, 64), bool)
    truth[20:44, 16:40] = True
    rng = np.random.default_rng(0)
    grey = np.where(truth, 160, 60).astype(np.uint8)
    saliency = np.where(np.roll(truth, (3, 3), axis=(0, 1)), 0.65, 0.35)
    saliency[rng.random(truth.shape) < 0.05] = 0.65
    assert largest_box(refine_saliency(saliency, grey, KERNELS, 0)) != (16, 20, 40, 44)
    assert largest_box(refine_saliency(saliency, grey, KERNELS, 5)) == (16, 20, 40, 44)


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_the_largest_box_belongs_to_the_component_with_the_largest_filled_area(mask):
    box = largest_box(mask)
    labels, count = components(mask, np.ones((3, 3)))
    areas = {scaled_box(labels == i, 1.0): binary_fill_holes(labels == i).sum()
             for i in range(1, count + 1)}  # fmt: skip
    if not count:
        assert box == (0, 0, mask.shape[1], mask.shape[0])
    else:
        assert areas[box] == max(areas.values())


def test_the_filled_area_of_a_ring_counts():
    mask = np.zeros((40, 40), bool)
    mask[2:20, 2:20] = True
    mask[3:19, 3:19] = False
    mask[24:36, 24:36] = True
    assert largest_box(mask) == (2, 2, 20, 20)
