"""Smoothing over slices, and the largest component."""

import numpy as np
import pytest

from umsam.postprocessing import largest_component, smooth_z


@pytest.mark.parametrize(("std", "spacing"), [(5.0, 3.6), (2.0, 1.0), (4.0, 8.0)])
def test_smoothing_is_a_gaussian_mean_over_slices(std, spacing):
    """Against the weights of the definition, with the first and last slices repeated."""
    logits = np.random.default_rng(0).normal(size=(9, 2, 3)).astype(np.float32)
    z = np.arange(-60, 69)
    repeated = logits[np.clip(z, 0, 8)]
    for center in range(9):
        weights = np.exp(-0.5 * ((z - center) * spacing / std) ** 2)
        expected = np.tensordot(weights / weights.sum(), repeated, axes=1)
        assert smooth_z(logits, std, spacing)[center] == pytest.approx(expected, abs=1e-3)


def test_a_standard_deviation_of_zero_changes_nothing():
    logits = np.random.default_rng(0).normal(size=(3, 2, 2)).astype(np.float32)
    assert smooth_z(logits, 0.0, 3.0) is logits


def test_only_the_largest_6_connected_component_is_kept():
    mask = np.zeros((4, 10, 10), np.uint8)
    mask[0:2, 0:3, 0:3] = 1  # 18 voxels
    mask[2:4, 5:9, 5:9] = 1  # 32 voxels
    mask[1, 3, 3] = 1  # touches the first component only at a corner
    kept = largest_component(mask)
    assert kept.sum() == 32
    assert kept[2:4, 5:9, 5:9].all()
    assert not largest_component(np.zeros_like(mask)).any()
    assert np.array_equal(largest_component(kept), kept)
