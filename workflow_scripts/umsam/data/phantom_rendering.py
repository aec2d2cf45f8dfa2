"""Rendering of phantoms: tissues with textures, partial volumes, and the scanner."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d


@dataclass(frozen=True)
class Site:
    """A scanner: how it renders tissue values in [0, 1].

    Attributes
    ----------
    gain
        Intensity of the tissue value 1.
    gamma
        Exponent of the tissue value.
    inverted
        Whether the contrast is inverted, as T1 is to T2.
    noise
        Standard deviation of the noise, as a fraction of the brightest tissue.
    bias
        Standard deviation of the logarithm of the bias field.
    """

    gain: float
    gamma: float
    inverted: bool
    noise: float
    bias: float


SITES = {
    1: Site(gain=400, gamma=1.0, inverted=False, noise=0.02, bias=0.08),
    2: Site(gain=1100, gamma=1.3, inverted=False, noise=0.03, bias=0.15),
    3: Site(gain=700, gamma=0.8, inverted=False, noise=0.045, bias=0.10),
    4: Site(gain=250, gamma=1.0, inverted=True, noise=0.03, bias=0.12),
}


@dataclass(frozen=True)
class Tissue:
    """A tissue: mean value, texture with its amplitude, and a rim (value, width in pixels)."""

    value: float
    texture: str  # smooth, folds, stripes or mottle
    amplitude: float
    rim: tuple[float, float] = (0.0, 0.0)


def coverage(distance: np.ndarray) -> np.ndarray:
    """Return the fraction of each pixel inside an outline from its signed distance."""
    return np.clip(0.5 - distance, 0.0, 1.0)


def blend(below: np.ndarray, above: np.ndarray | np.float64, alpha: np.ndarray) -> np.ndarray:
    """Blend two images with the opacity `alpha` of the upper one."""
    return below + (above - below) * alpha


def paint(
    rng: np.random.Generator, below: np.ndarray, distance: np.ndarray, tissue: Tissue
) -> np.ndarray:
    """Paint a tissue inside an outline, with its rim just inside the border."""
    inside = coverage(distance)
    painted = blend(below, render(rng, tissue, below.shape), inside)
    value, width = tissue.rim
    return blend(painted, np.float64(value), inside - coverage(distance + width))


def render(rng: np.random.Generator, tissue: Tissue, shape: Sequence[int]) -> np.ndarray:
    """Render a volume [Z, Y, X] that consists of one tissue."""
    return tissue.value + tissue.amplitude * _texture(rng, tissue.texture, shape)


def _texture(rng: np.random.Generator, name: str, shape: Sequence[int]) -> np.ndarray:
    """Draw a texture with mean 0 and a standard deviation of about 1, correlated between slices."""
    noise = rng.standard_normal(tuple(shape))
    if name == "smooth":
        return _standardise(gaussian_filter(noise, (1.0, 6.0, 6.0)))
    if name == "mottle":
        return _standardise(gaussian_filter(noise, (0.7, 2.5, 2.5)))
    if name == "folds":  # a band of wavelengths, compressed to winding ridges
        band = gaussian_filter(noise, (0.6, 1.1, 1.1)) - gaussian_filter(noise, (0.6, 1.9, 1.9))
        return np.tanh(2.0 * _standardise(band))
    if name == "stripes":  # oriented and finer
        phase = 2.0 * gaussian_filter1d(
            _standardise(gaussian_filter(noise, (1.0, 7.0, 7.0))), 1.0, axis=0
        )
        y, x = np.mgrid[: shape[1], : shape[2]]
        return np.sqrt(2.0) * np.sin(2 * np.pi * (0.8 * x + 0.6 * y) / 4.5 + phase)
    raise ValueError(f"unknown texture {name!r}")


def _standardise(field: np.ndarray) -> np.ndarray:
    return (field - field.mean()) / field.std()


def scan(rng: np.random.Generator, tissue: np.ndarray, body: np.ndarray, site: Site) -> np.ndarray:
    """Simulate the scanner: contrast, blur, bias field, Rician noise, and whole numbers."""
    value = np.clip(tissue, 0.0, 1.0)
    if site.inverted:
        value = (1.02 - value) * body  # air stays dark
    value = gaussian_filter(value**site.gamma, (0.0, 0.5, 0.5))
    bias = np.exp(
        site.bias * _standardise(gaussian_filter(rng.standard_normal(value.shape), (4, 30, 30)))
    )
    real = value * bias + site.noise * rng.standard_normal(value.shape)
    imaginary = site.noise * rng.standard_normal(value.shape)
    return np.rint(site.gain * np.hypot(real, imaginary)).astype(np.float32)
