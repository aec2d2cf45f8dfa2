"""Pairs of images made of the same random tissues: what a feature of texture is to agree about.

Both images of a pair have the same tissues (a mean value and a random texture each), in other
places, in other shapes, with other noise and another contrast. So two crops agree about a tissue
only by what it looks like, not by where it lies or what surrounds it.
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
    if rng.random() < 0.5:  # texture is all that tells them apart
        means = means.mean() + 0.1 * (means - means.mean())
    deviations = np.exp(rng.uniform(np.log(0.01), np.log(0.18), count))
    images, layouts = [], []
    for _ in range(2):
        layout = _mosaic(rng, size, count)
        image = np.zeros((size, size), np.float32)
        for tissue, texture in enumerate(textures):
            where = layout == tissue
            image[where] = means[tissue] + deviations[tissue] * texture(rng, size)[where]
        image = ndimage.gaussian_filter(image, rng.uniform(0.3, 0.8))
        images.append(np.clip(image, 0, 1) ** np.exp(rng.uniform(-0.3, 0.3)))
        layouts.append(layout)
    return np.stack(images), np.stack(layouts)


def random_texture(rng: np.random.Generator, size: int) -> Texture:
    """A texture with parameters drawn now, whose every call draws a new field of about unit sd."""
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
    """[size, size] numbers 0 to count - 1: bent Voronoi cells, at least one for each number."""
    cells = count + int(rng.integers(0, 3))
    y, x = np.mgrid[:size, :size].astype(np.float32)
    y = y + 0.06 * size * smooth_noise(rng, size, 4, 4)
    x = x + 0.06 * size * smooth_noise(rng, size, 4, 4)
    centres = rng.uniform(0, size, (cells, 2))
    distance = np.stack([np.hypot(y - cy, x - cx) for cy, cx in centres])
    return distance.argmin(0) % count
