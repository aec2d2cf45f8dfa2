"""Intensity scaling: closed forms and invariants."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from umsam.data.intensity import normalise, to_rgb_uint8


def test_a_ramp_is_clipped_at_its_percentiles():
    ramp = np.arange(1001.0).reshape(1, 7, 143)  # the p-th percentile is 10 p
    scaled = normalise(ramp, 1, 99)
    assert scaled.dtype == np.float32
    assert np.allclose(scaled, np.clip((ramp - 10) / 980, 0, 1), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(gain=st.floats(0.01, 1000), offset=st.floats(-1000, 1000), seed=st.integers(0, 99))
def test_gain_and_offset_of_the_scanner_do_not_matter(gain, offset, seed):
    image = np.random.default_rng(seed).random((3, 8, 8))
    assert np.allclose(normalise(image), normalise(gain * image + offset), atol=1e-5)


def test_integers_do_not_overflow():
    image = np.array([-32000, 0, 32000], np.int16).reshape(1, 1, 3)
    assert np.allclose(normalise(image, 0, 100), [[[0, 0.5, 1]]])


def test_the_contrast_between_slices_is_kept():
    image = np.stack([np.full((4, 4), value) for value in (0.0, 1.0, 2.0)])
    assert np.allclose(normalise(image, 0, 100)[:, 0, 0], [0, 0.5, 1])


def test_a_constant_image_becomes_zero_with_a_warning(caplog):
    assert not normalise(np.full((2, 3, 4), 7)).any()
    assert "no contrast" in caplog.text


def test_rgb_values_are_rounded_and_clipped():
    image = np.array([[0.0, 0.5, 1.0], [1 / 255, 254.6 / 255, 1.2]])
    rgb = to_rgb_uint8(image)
    assert rgb.dtype == np.uint8
    assert rgb.shape == (2, 3, 3)
    assert rgb[..., 0].tolist() == [[0, 128, 255], [1, 255, 255]]
    assert np.array_equal(rgb[..., 0], rgb[..., 1])
    assert np.array_equal(rgb[..., 0], rgb[..., 2])
