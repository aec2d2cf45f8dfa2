"""Smooth random fields and textures, from which procedural images are made."""

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=256)
def spline_matrix(size: int, cells: int) -> np.ndarray:
    """Cubic B-spline weights [size, cells + 3], which interpolate a coarse grid by a product."""
    position = (np.arange(size) + 0.5) / size * cells
    cell = np.floor(position).astype(int)
    t = position - cell
    weights = (
        np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3])
        / 6
    )
    matrix = np.zeros((size, cells + 3), np.float32)
    for k in range(4):
        matrix[np.arange(size), cell + k] += weights[k]
    return matrix


def smooth_noise(rng: np.random.Generator, size: int, cells_y: int, cells_x: int) -> np.ndarray:
    """[size, size] smooth random field of about unit variance with cells_y x cells_x bumps."""
    coarse = rng.standard_normal((cells_y + 3, cells_x + 3), dtype=np.float32)
    field = spline_matrix(size, cells_y) @ coarse @ spline_matrix(size, cells_x).T
    return field * 2.0


def texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """[size, size] random texture of about zero mean and unit variance."""
    kind = rng.random()
    if kind < 0.30:  # speckle of one scale, often oriented
        y, x = (int(c) for c in np.exp(rng.uniform(np.log(8), np.log(80), 2)))
        if rng.random() < 0.6:
            x = y
        return smooth_noise(rng, size, y, x)
    if kind < 0.55:  # two scales
        a, b = (int(c) for c in np.exp(rng.uniform(np.log(6), np.log(96), 2)))
        return 0.7 * smooth_noise(rng, size, a, a) + 0.7 * smooth_noise(rng, size, b, b)
    if kind < 0.70:  # folds, like gyri or bowel: level sets of a smooth field
        cells = int(rng.integers(5, 16))
        return 1.4 * np.sin(rng.uniform(2, 5) * smooth_noise(rng, size, cells, cells))
    if kind < 0.80:  # wavy stripes
        angle, period = rng.uniform(0, np.pi), rng.uniform(0.02, 0.10)
        axis = (np.arange(size, dtype=np.float32) + 0.5) / size
        ramp = np.cos(angle) * axis[:, None] + np.sin(angle) * axis[None]
        bend = 0.03 * smooth_noise(rng, size, 5, 5)
        return 1.4 * np.sin(2 * np.pi / period * (ramp + bend))
    if kind < 0.92:  # spots or holes, like nodules, cysts or vessels in cross-section
        cells = int(rng.integers(16, 56))
        spots = smooth_noise(rng, size, cells, cells)
        return rng.choice([-1.0, 1.0]) * np.clip(3 * (spots - 0.9), -0.3, 2.5)
    return rng.standard_normal((size, size), dtype=np.float32)
