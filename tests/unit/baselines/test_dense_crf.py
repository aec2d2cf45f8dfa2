"""The dense CRF against all pairs of pixels, and what its kernels do to an image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from umsam.baselines.dense_crf import Kernels, bilateral_filter, dense_crf, spatial_filter


def pair_kernels(image, kernels):
    """Both kernels [N, N] between all pairs of pixels, each by its own formula."""
    y, x = (axis.ravel().astype(float) for axis in np.indices(image.shape))
    grey = image.ravel().astype(float)
    apart = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    unlike = (grey[:, None] - grey) ** 2
    return (
        np.exp(-apart / (2 * kernels.gaussian_sigma**2)),
        np.exp(
            -apart / (2 * kernels.bilateral_sigma**2)
            - unlike / (2 * kernels.bilateral_grey_sigma**2)
        ),
    )


def brute_force(unary, image, kernels, iterations):
    """Mean field with every pair of pixels: O(N^2)."""
    messages = 0
    weights = (kernels.gaussian_weight, kernels.bilateral_weight)
    for weight, kernel in zip(weights, pair_kernels(image, kernels), strict=True):
        degree = kernel.sum(axis=1)
        messages = messages + weight * kernel / np.sqrt(degree[:, None] * degree)
    energy = unary.reshape(len(unary), -1)

    def normalised(scores):
        exponentials = np.exp(scores - scores.max(axis=0))
        return exponentials / exponentials.sum(axis=0)

    q = normalised(-energy)
    for _ in range(iterations):
        q = normalised(-energy + q @ messages)
    return q.reshape(unary.shape)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(2, 3), st.integers(1, 22), st.integers(1, 22)),
    st.integers(0, 2**32 - 1),
    st.tuples(st.floats(0.3, 40), st.floats(0, 10), st.floats(0.3, 200), st.floats(0.3, 300),
              st.floats(0, 10)),
    st.integers(0, 6),
    st.sampled_from([1, 4, 256]),
)  # fmt: skip
def test_all_pairs_of_pixels_are_summed(shape, seed, kernels, iterations, greys):
    rng = np.random.default_rng(seed)
    image = (rng.integers(0, greys, shape[1:]) * (255 // max(greys - 1, 1))).astype(np.uint8)
    unary = rng.exponential(2.0, shape)
    found = dense_crf(unary, image, Kernels(*kernels), iterations)
    expected = brute_force(unary, image, Kernels(*kernels), iterations)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=0), 1)


def test_a_smooth_image_with_the_settings_of_medclip_sam():
    y, x = np.indices((48, 40))
    image = np.rint(120 + 60 * np.sin(y / 9) + 50 * np.cos(x / 7)).astype(np.uint8)
    saliency = np.exp(-((y - 20) ** 2 + (x - 15) ** 2) / 200)
    unary = -np.log(np.stack([1 - saliency, saliency]).clip(1e-8))
    kernels = Kernels(3, 3, 60, 5, 5)
    np.testing.assert_allclose(
        dense_crf(unary, image, kernels, 5), brute_force(unary, image, kernels, 5), atol=1e-8
    )


def test_the_filter_of_places_is_a_gaussian_blur():
    """Far from the borders, where scipy's truncated and normalised one agrees."""
    values = np.zeros((61, 61))
    values[25:34, 27:36] = np.random.default_rng(0).random((9, 9))
    found = spatial_filter(values.shape, Kernels(gaussian_sigma=2.5))(values)
    blurred = gaussian_filter(values, 2.5, truncate=10) * (2 * np.pi * 2.5**2)
    np.testing.assert_allclose(found, blurred, atol=1e-5)


def test_the_bilateral_filter_of_one_grey_value_is_the_filter_of_places():
    values = np.random.default_rng(0).random((50, 31))
    kernels = Kernels(gaussian_sigma=7, bilateral_sigma=7, bilateral_grey_sigma=2)
    found = bilateral_filter(np.full(values.shape, 93, np.uint8), kernels)(values)
    np.testing.assert_allclose(found, spatial_filter(values.shape, kernels)(values), rtol=1e-6)


def test_labels_follow_the_edge_of_the_image():
    """A saliency that spills over an edge and misses a corner comes back to the object."""
    truth = np.zeros((64, 64), bool)
    truth[20:44, 16:40] = True
    rng = np.random.default_rng(0)
    image = np.where(truth, 160, 60) + rng.normal(0, 3, truth.shape)
    spilled = np.roll(truth, (5, 5), axis=(0, 1))
    probability = np.where(spilled, 0.7, 0.3)
    unary = -np.log(np.stack([1 - probability, probability]))
    found = dense_crf(unary, image.round().astype(np.uint8), Kernels(), 10).argmax(axis=0) == 1
    assert np.count_nonzero(spilled != truth) > 200
    np.testing.assert_array_equal(found, truth)


def test_specks_vanish_and_no_update_changes_nothing():
    unary = np.zeros((2, 30, 30))
    unary[1] = 2.0  # background everywhere but for one pixel
    unary[:, 15, 15] = (2.0, 0.0)
    flat = np.zeros((30, 30), np.uint8)
    before = dense_crf(unary, flat, Kernels(), 0)
    assert before[1, 15, 15] == pytest.approx(1 / (1 + np.exp(-2)))
    assert (dense_crf(unary, flat, Kernels(), 5).argmax(axis=0) == 0).all()


def test_a_whole_slice_of_256_x_256():
    """Twenty of its pixels, each summed over all others."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (256, 256)).astype(np.uint8)
    values = rng.random(image.shape)
    kernels = Kernels()
    found = bilateral_filter(image, kernels)(values)
    y, x = np.indices(image.shape)
    for row, column in rng.integers(0, 256, (20, 2)):
        apart = ((y - row) ** 2 + (x - column) ** 2) / kernels.bilateral_sigma**2
        unlike = (image.astype(float) - image[row, column]) ** 2 / kernels.bilateral_grey_sigma**2
        expected = (np.exp(-0.5 * (apart + unlike)) * values).sum()
        assert found[row, column] == pytest.approx(expected, rel=1e-7)
