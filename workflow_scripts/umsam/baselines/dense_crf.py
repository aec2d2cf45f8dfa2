"""Fully connected conditional random field with Gaussian kernels, by mean field.

Kraehenbuehl and Koltun, "Efficient inference in fully connected CRFs with Gaussian edge
potentials", 2011, with the Potts model and the symmetric normalisation of their code. Theirs
filters approximately, on a lattice; here the sums over all pairs of pixels are exact, which slices
of 8-bit grey values allow: pixels of one grey value differ in place alone, and a wide Gaussian over
places has few eigenvectors that count. So each grey value keeps a small matrix of coefficients, and
the kernel over grey values mixes 256 of those matrices instead of N^2 pairs of pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

GREY_VALUES = 256
SMALLEST_EIGENVALUE = 1e-10  # of the largest; what is left out is far below single precision

Filter = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Kernels:
    """The pairwise terms: weight x Gaussian, standard deviations in pixels and grey values.

    The first kernel knows places alone and removes specks; the second, bilateral one lets the
    labels follow the edges of the image.
    """

    gaussian_sigma: float = 3.0
    gaussian_weight: float = 3.0
    bilateral_sigma: float = 60.0
    bilateral_grey_sigma: float = 5.0
    bilateral_weight: float = 5.0


def dense_crf(
    unary: NDArray[np.floating], image: NDArray[np.uint8], kernels: Kernels, iterations: int
) -> NDArray[np.float64]:
    """Marginals of the labels after a number of mean field updates, all pixels at once.

    Parameters
    ----------
    unary
        [L, H, W]: energy of each label at each pixel, -log of its probability.
    image
        [H, W] grey values.
    iterations
        0 gives the softmax of -unary.

    Returns
    -------
    [L, H, W], sums to 1 over the labels.
    """
    terms = [
        (kernels.gaussian_weight, _normalised(spatial_filter(image.shape, kernels), image.shape)),
        (kernels.bilateral_weight, _normalised(bilateral_filter(image, kernels), image.shape)),
    ]
    marginals = softmax(-unary, axis=0)
    for _ in range(iterations):
        support = [sum(weight * smooth(q) for weight, smooth in terms) for q in marginals]
        marginals = softmax(np.stack(support) - unary, axis=0)
    return marginals


def spatial_filter(shape: tuple[int, int], kernels: Kernels) -> Filter:
    """Multiplication of an image [H, W] by the kernel of places, every pair of pixels counted."""
    along_y, along_x = (_gaussian(np.arange(n), kernels.gaussian_sigma) for n in shape)
    return lambda values: along_y @ values @ along_x


def bilateral_filter(image: NDArray[np.uint8], kernels: Kernels) -> Filter:
    """The same by the kernel of places and grey values of `image` [H, W]."""
    basis_y, basis_x = (_basis(n, kernels.bilateral_sigma) for n in image.shape)
    between_greys = _gaussian(np.arange(GREY_VALUES), kernels.bilateral_grey_sigma)
    order = np.argsort(image, axis=None, kind="stable")
    ends = np.cumsum(np.bincount(image.ravel(), minlength=GREY_VALUES))
    pixels = np.split(order, ends[:-1])  # of each grey value
    places = [np.unravel_index(each, image.shape) for each in pixels]
    used = [grey for grey in range(GREY_VALUES) if len(pixels[grey])]

    def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
        coefficients = np.empty((len(used), basis_y.shape[1], basis_x.shape[1]))
        for row, grey in enumerate(used):
            y, x = places[grey]
            coefficients[row] = (basis_y[y] * values[y, x, None]).T @ basis_x[x]
        mixed = np.tensordot(between_greys[np.ix_(used, used)], coefficients, axes=1)
        result = np.empty(image.shape)
        for row, grey in enumerate(used):
            y, x = places[grey]
            result[y, x] = np.einsum("nb,nb->n", basis_y[y] @ mixed[row], basis_x[x])
        return result

    return smooth


def _normalised(smooth: Filter, shape: tuple[int, int]) -> Filter:
    """D^-1/2 K D^-1/2 with D the row sums of K: wide kernels then do not outweigh narrow ones."""
    scale = 1 / np.sqrt(smooth(np.ones(shape)))
    return lambda values: scale * smooth(scale * values)


def _gaussian(positions: NDArray[np.integer], sigma: float) -> NDArray[np.float64]:
    return np.exp(-0.5 * ((positions[:, None] - positions) / sigma) ** 2)


def _basis(length: int, sigma: float) -> NDArray[np.float64]:
    """[length, r] whose rows have the Gaussian of their distance as their scalar product."""
    values, vectors = np.linalg.eigh(_gaussian(np.arange(length), sigma))
    kept = values > SMALLEST_EIGENVALUE * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept])
