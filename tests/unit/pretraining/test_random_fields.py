"""Random fields have the requested scale."""

import numpy as np

from umsam.pretraining.random_fields import smooth_noise


def test_smooth_noise_has_the_requested_scale():
    rng = np.random.default_rng(0)
    coarse, fine = (
        np.mean([np.abs(np.diff(smooth_noise(rng, 128, n, n), axis=0)).mean() for _ in range(8)])
        for n in (4, 32)
    )
    assert fine > 4 * coarse
