"""What is left of a mask in several pieces, and what slices tell of their neighbours."""

import numpy as np
import pytest

from umsam.postprocessing import largest_component, smooth_z


@pytest.mark.parametrize(("sd", "step"), [(5.0, 3.6), (2.0, 1.0), (4.0, 8.0)])
def test_smoothing_is_the_gaussian_mean_over_slices(sd, step):
    """By the weights of the definition, the first and the last slice repeated without end."""
    odds = np.random.default_rng(0).normal(size=(9, 2, 3)).astype(np.float32)
    z = np.arange(-60, 69)
    continued = odds[np.clip(z, 0, 8)]
    for at in range(9):
        weights = np.exp(-0.5 * ((z - at) * step / sd) ** 2)
        expected = np.tensordot(weights / weights.sum(), continued, axes=1)
        assert smooth_z(odds, sd, step)[at] == pytest.approx(expected, abs=1e-3)


def test_no_smoothing_is_none():
    odds = np.random.default_rng(0).normal(size=(3, 2, 2)).astype(np.float32)
    assert smooth_z(odds, 0.0, 3.0) is odds


def test_largest_component():
    mask = np.zeros((4, 10, 10), np.uint8)
    mask[0:2, 0:3, 0:3] = 1  # 18 voxels
    mask[2:4, 5:9, 5:9] = 1  # 32 voxels
    mask[1, 3, 3] = 1  # touches the first by a corner only
    kept = largest_component(mask)
    assert kept.sum() == 32 and kept[2:4, 5:9, 5:9].all()
    assert not largest_component(np.zeros_like(mask)).any()
    assert np.array_equal(largest_component(kept), kept)
