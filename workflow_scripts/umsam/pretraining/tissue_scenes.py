"""Pairs of images of the same random tissues, from which texture features are learned.

A tissue has a mean value and a random texture. The two images of a pair show the same tissues at
other places, in other shapes, with another texture field and contrast. A tissue can therefore be
recognised only by its appearance, not by its place or its surroundings.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from umsam.pretraining.random_fields import smooth_noise

Texture = Callable[[np.random.Generator, int], np.ndarray]


def tissue_pair(seed: int, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Images [2, size, size] in [0, 1] and their tissues [2, size, size], int, from 0."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(3, 7))
    textures = [random_texture(rng, size) for _ in range(count)]
    means = rng.uniform(0.15, 0.85, count)
    if rng.random() < 0.5:  # tissues differ mainly in texture
        means = means.mean() + 0.1 * (means - means.mean())
    deviations = np.exp(rng.uniform(np.log(0.01), np.log(0.18), count))
    images, layouts = [], []
    for _ in range(2):
        layout = _mosaic(rng, size, count)
        image = np.zeros((size, size), np.float32)
        for tissue, texture in enumerate(textures):
            inside = layout == tissue
            image[inside] = means[tissue] + deviations[tissue] * texture(rng, size)[inside]
        image = ndimage.gaussian_filter(image, rng.uniform(0.3, 0.8))
        images.append(np.clip(image, 0, 1) ** np.exp(rng.uniform(-0.3, 0.3)))
        layouts.append(layout)
    return np.stack(images), np.stack(layouts)


def random_texture(rng: np.random.Generator, size: int) -> Texture:
    """A texture with random parameters; each call draws a new field of about unit variance."""
    kind = rng.choice(["speckle", "two scales", "folds", "stripes", "spots", "noise"])
    cells, finer = (int(c) for c in size * np.exp(rng.uniform(np.log(0.05), np.log(0.5), 2)))
    if kind == "speckle":
        return lambda r, n: smooth_noise(r, n, cells, cells)
    if kind == "two scales":
        return lambda r, n: (
            0.7 * (smooth_noise(r, n, cells, cells) + smooth_noise(r, n, finer, finer))
        )
    if kind == "folds":
        turns, coarse = rng.uniform(1.5, 4), max(3, cells // 3)
        return lambda r, n: 1.4 * np.sin(turns * smooth_noise(r, n, coarse, coarse))
    if kind == "stripes":
        period = np.exp(rng.uniform(np.log(3.5), np.log(16)))  # px
        return lambda r, n: _stripes(r, n, period)
    if kind == "spots":
        sign, level = rng.choice([-1.0, 1.0]), rng.uniform(0.6, 1.4)
        return lambda r, n: (
            sign * np.clip(3 * (smooth_noise(r, n, cells, cells) - level), -0.3, 2.5)
        )
    return lambda r, n: r.standard_normal((n, n), dtype=np.float32)


def _stripes(rng: np.random.Generator, size: int, period: float) -> np.ndarray:
    angle = rng.uniform(0, np.pi)
    axis = np.arange(size, dtype=np.float32)
    ramp = np.cos(angle) * axis[:, None] + np.sin(angle) * axis[None]
    return 1.4 * np.sin(2 * np.pi * ramp / period + 0.7 * smooth_noise(rng, size, 4, 4))


def _mosaic(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    """[size, size] numbers 0 to count - 1: warped Voronoi cells, one or more for each number."""
    cells = count + int(rng.integers(0, 3))
    y, x = np.mgrid[:size, :size].astype(np.float32)
    y = y + 0.06 * size * smooth_noise(rng, size, 4, 4)
    x = x + 0.06 * size * smooth_noise(rng, size, 4, 4)
    centres = rng.uniform(0, size, (cells, 2))
    distance = np.stack([np.hypot(y - cy, x - cx) for cy, cx in centres])
    return distance.argmin(0) % count
