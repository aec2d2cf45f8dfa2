"""Mean-field inference in a fully connected conditional random field with Gaussian kernels.

Kraehenbuehl and Koltun, "Efficient inference in fully connected CRFs with Gaussian edge
potentials", 2011, with the Potts model and the symmetric normalisation of their code.

Their code filters approximately, on a lattice. This one sums exactly over all pairs of pixels,
which is feasible for 8-bit grey values: pixels of one grey value differ only in position, and a
wide Gaussian over positions has few significant eigenvectors. Each grey value therefore has a small
matrix of coefficients, and the kernel over grey values mixes at most 256 such matrices.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

GREY_VALUES = 256
SMALLEST_EIGENVALUE = 1e-10  # relative to the largest; the error is far below single precision

Filter = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Kernels:
    """Pairwise terms, weight x Gaussian; standard deviations in pixels and grey values.

    The Gaussian kernel depends only on positions and removes specks. The bilateral kernel also
    depends on grey values and aligns the labels with image edges.
    """

    gaussian_sigma: float = 3.0
    gaussian_weight: float = 3.0
    bilateral_sigma: float = 60.0
    bilateral_grey_sigma: float = 5.0
    bilateral_weight: float = 5.0


def dense_crf(
    unary: NDArray[np.floating], image: NDArray[np.uint8], kernels: Kernels, iterations: int
) -> NDArray[np.float64]:
    """Marginals of the labels after a number of parallel mean-field updates.

    Parameters
    ----------
    unary
        [L, H, W]: energy of each label at each pixel, the negative log of its probability.
    image
        [H, W]: grey values.
    kernels
        The pairwise terms.
    iterations
        Number of updates; 0 gives the softmax of -unary.

    Returns
    -------
    [L, H, W]; the sum over the labels is 1.
    """
    terms = [
        (kernels.gaussian_weight, _normalise(spatial_filter(image.shape, kernels), image.shape)),
        (kernels.bilateral_weight, _normalise(bilateral_filter(image, kernels), image.shape)),
    ]
    marginals = softmax(-unary, axis=0)
    for _ in range(iterations):
        messages = [sum(weight * smooth(q) for weight, smooth in terms) for q in marginals]
        marginals = softmax(np.stack(messages) - unary, axis=0)
    return marginals


def spatial_filter(shape: tuple[int, ...], kernels: Kernels) -> Filter:
    """A function that multiplies an image [H, W] by the Gaussian kernel, over all pixel pairs."""
    along_y, along_x = (_gaussian(np.arange(n), kernels.gaussian_sigma) for n in shape)
    return lambda values: along_y @ values @ along_x


def bilateral_filter(image: NDArray[np.uint8], kernels: Kernels) -> Filter:
    """A function that multiplies an image [H, W] by the bilateral kernel of `image` [H, W]."""
    basis_y, basis_x = (_basis(n, kernels.bilateral_sigma) for n in image.shape)
    between_greys = _gaussian(np.arange(GREY_VALUES), kernels.bilateral_grey_sigma)
    order = np.argsort(image, axis=None, kind="stable")
    ends = np.cumsum(np.bincount(image.ravel(), minlength=GREY_VALUES))
    pixels_by_grey = np.split(order, ends[:-1])
    positions = [np.unravel_index(pixels, image.shape) for pixels in pixels_by_grey]
    used = [grey for grey, pixels in enumerate(pixels_by_grey) if len(pixels)]

    def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
        coefficients = np.empty((len(used), basis_y.shape[1], basis_x.shape[1]))
        for row, grey in enumerate(used):
            y, x = positions[grey]
            coefficients[row] = (basis_y[y] * values[y, x, None]).T @ basis_x[x]
        mixed = np.tensordot(between_greys[np.ix_(used, used)], coefficients, axes=1)
        result = np.empty(image.shape)
        for row, grey in enumerate(used):
            y, x = positions[grey]
            result[y, x] = np.einsum("nb,nb->n", basis_y[y] @ mixed[row], basis_x[x])
        return result

    return smooth


def _normalise(smooth: Filter, shape: tuple[int, ...]) -> Filter:
    """D^-1/2 K D^-1/2, where D holds the row sums of K, so that wide kernels do not dominate."""
    scale = 1 / np.sqrt(smooth(np.ones(shape)))
    return lambda values: scale * smooth(scale * values)


def _gaussian(positions: NDArray[np.integer], sigma: float) -> NDArray[np.float64]:
    return np.exp(-0.5 * ((positions[:, None] - positions) / sigma) ** 2)


def _basis(length: int, sigma: float) -> NDArray[np.float64]:
    """[length, r]: the scalar product of two rows is the Gaussian of their distance."""
    values, vectors = np.linalg.eigh(_gaussian(np.arange(length), sigma))
    significant = values > SMALLEST_EIGENVALUE * values[-1]
    return vectors[:, significant] * np.sqrt(values[significant])
