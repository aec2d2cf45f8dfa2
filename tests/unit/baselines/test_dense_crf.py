"""The dense CRF against sums over all pairs of pixels, and the effect of its kernels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from umsam.baselines.dense_crf import Kernels, bilateral_filter, dense_crf, spatial_filter


def pair_kernels(image, kernels):
    """Both kernels [N, N] between all pairs of pixels."""
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
    """Mean field with all pairs of pixels, O(N^2)."""
    messages = 0
    weights = (kernels.gaussian_weight, kernels.bilateral_weight)
    for weight, kernel in zip(weights, pair_kernels(image, kernels), strict=True):
        degree = kernel.sum(axis=1)
        messages = messages + weight * kernel / np.sqrt(degree[:, None] * degree)
    energy = unary.reshape(len(unary), -1)

    def softmax(scores):
        exponentials = np.exp(scores - scores.max(axis=0))
        return exponentials / exponentials.sum(axis=0)

    q = softmax(-energy)
    for _ in range(iterations):
        q = softmax(-energy + q @ messages)
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
def test_marginals_equal_sums_over_all_pairs_of_pixels(shape, seed, kernels, iterations, greys):
    rng = np.random.default_rng(seed)
    image = (rng.integers(0, greys, shape[1:]) * (255 // max(greys - 1, 1))).astype(np.uint8)
    unary = rng.exponential(2.0, shape)
    marginals = dense_crf(unary, image, Kernels(*kernels), iterations)
    expected = brute_force(unary, image, Kernels(*kernels), iterations)
    np.testing.assert_allclose(marginals, expected, atol=1e-6)
    np.testing.assert_allclose(marginals.sum(axis=0), 1)


def test_a_smooth_image_with_the_settings_of_medclip_sam():
    y, x = np.indices((48, 40))
    image = np.rint(120 + 60 * np.sin(y / 9) + 50 * np.cos(x / 7)).astype(np.uint8)
    saliency = np.exp(-((y - 20) ** 2 + (x - 15) ** 2) / 200)
    unary = -np.log(np.stack([1 - saliency, saliency]).clip(1e-8))
    kernels = Kernels(3, 3, 60, 5, 5)
    np.testing.assert_allclose(
        dense_crf(unary, image, kernels, 5), brute_force(unary, image, kernels, 5), atol=1e-8
    )


def test_the_spatial_filter_is_a_gaussian_blur():
    """Far from the borders it agrees with scipy's filter, which is truncated and normalised."""
    values = np.zeros((61, 61))
    values[25:34, 27:36] = np.random.default_rng(0).random((9, 9))
    result = spatial_filter(values.shape, Kernels(gaussian_sigma=2.5))(values)
    blurred = gaussian_filter(values, 2.5, truncate=10) * (2 * np.pi * 2.5**2)
    np.testing.assert_allclose(result, blurred, atol=1e-5)


def test_for_one_grey_value_the_bilateral_filter_equals_the_spatial_filter():
    values = np.random.default_rng(0).random((50, 31))
    kernels = Kernels(gaussian_sigma=7, bilateral_sigma=7, bilateral_grey_sigma=2)
    result = bilateral_filter(np.full(values.shape, 93, np.uint8), kernels)(values)
    np.testing.assert_allclose(result, spatial_filter(values.shape, kernels)(values), rtol=1e-6)


def test_labels_follow_the_edges_of_the_image():
    """The CRF restores the object from a shifted foreground probability."""
    truth = np.zeros((64, 64), bool)
    truth[20:44, 16:40] = True
    rng = np.random.default_rng(0)
    image = np.where(truth, 160, 60) + rng.normal(0, 3, truth.shape)
    shifted = np.roll(truth, (5, 5), axis=(0, 1))
    probability = np.where(shifted, 0.7, 0.3)
    unary = -np.log(np.stack([1 - probability, probability]))
    foreground = dense_crf(unary, image.round().astype(np.uint8), Kernels(), 10).argmax(axis=0) == 1
    assert np.count_nonzero(shifted != truth) > 200
    np.testing.assert_array_equal(foreground, truth)


def test_updates_remove_specks_and_zero_updates_give_the_softmax():
    unary = np.zeros((2, 30, 30))
    unary[1] = 2.0  # background everywhere except at one pixel
    unary[:, 15, 15] = (2.0, 0.0)
    flat = np.zeros((30, 30), np.uint8)
    before = dense_crf(unary, flat, Kernels(), 0)
    assert before[1, 15, 15] == pytest.approx(1 / (1 + np.exp(-2)))
    assert (dense_crf(unary, flat, Kernels(), 5).argmax(axis=0) == 0).all()


def test_the_bilateral_filter_is_exact_on_a_slice_of_256_x_256():
    """Compares twenty pixels with sums over all pixels."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (256, 256)).astype(np.uint8)
    values = rng.random(image.shape)
    kernels = Kernels()
    result = bilateral_filter(image, kernels)(values)
    y, x = np.indices(image.shape)
    for row, column in rng.integers(0, 256, (20, 2)):
        apart = ((y - row) ** 2 + (x - column) ** 2) / kernels.bilateral_sigma**2
        unlike = (image.astype(float) - image[row, column]) ** 2 / kernels.bilateral_grey_sigma**2
        expected = (np.exp(-0.5 * (apart + unlike)) * values).sum()
        assert result[row, column] == pytest.approx(expected, rel=1e-7)
