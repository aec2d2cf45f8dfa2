"""Random images with nested objects, the training data of the compact models.

The method is domain randomisation, as in SynthSeg, SynthStrip and AnyStar. It does not model
anatomy but the difficulties of medical slices. A scene is a tree of shapes: a body on a dark or
noisy background, organs in the body, parts in the organs, and rims, bands and clutter that are not
objects. A tissue class has a mean and a texture and can occur in several objects, so neighbours may
have the same intensity or differ only in texture. Rendering simulates a scanner: partial volume,
low and anisotropic resolution, coil falloff, bias field, ghosts, Rician noise, gamma, inversion.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from umsam.pretraining.random_fields import smooth_noise, texture
from umsam.pretraining.scene_painter import EVERYWHERE, Painter, Shape

SMALLEST_AREA, LARGEST_AREA = 0.003, 0.45
"""Range of an object's area as a share of the image; others are painted but not listed."""


@dataclass(frozen=True)
class Scene:
    """An image and its objects. An object's mask includes the masks of its descendants."""

    image: np.ndarray
    """[H, W] float32 in [0, 1]."""
    masks: np.ndarray
    """[K, H, W] bool, the visible part of each object; parents come before children."""
    parent: np.ndarray
    """[K] int: index of the smallest object that contains this one, -1 if there is none."""

    @property
    def innermost(self) -> np.ndarray:
        """[H, W] int16: index of the innermost object at each pixel, -1 for background."""
        labels = np.full(self.image.shape, -1, np.int16)
        for index, mask in enumerate(self.masks):
            labels[mask] = index
        return labels


@lru_cache(maxsize=256)
def _resize_matrix(source: int, target: int) -> np.ndarray:
    """Linear resampling weights [target, source], with antialiasing."""
    centre = (np.arange(target) + 0.5) * source / target - 0.5
    width = max(1.0, source / target)
    distance = np.abs(centre[:, None] - np.arange(source)[None]) / width
    weights = np.maximum(0, 1 - distance)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _layout(rng: np.random.Generator, size: int) -> tuple[Painter, np.ndarray]:
    """Paint the tree of shapes; returns the painter and the body, bool [H, W]."""
    painter = Painter(rng, size)
    body = np.ones((size, size), bool)
    if rng.random() < 0.75:  # a body outline, often larger than the field of view
        cy, cx = size * (0.5 + rng.normal(0, 0.07, 2))
        radius = size * rng.uniform(0.33, 0.75)
        shape = Shape(
            rng, size, cy, cx, radius, rng.choice(["ellipse", "harmonic", "box", "warped"])
        )
        body = painter.on_image(shape.window, shape.inside())
        first = painter.random_tissue()
        painter.fill(EVERYWHERE, body, first)
        inner = body
        edge = 1.0
        for _ in range(int(rng.integers(0, 4))):  # skin, fat, muscle
            edge -= max(rng.uniform(0.01, 0.10), 1.2 / radius)
            layer = painter.on_image(shape.window, shape.inside(edge))
            painter.fill(EVERYWHERE, layer, painter.random_tissue())
            inner = layer
        if inner.sum() > 0.05 * size * size:
            index = painter.new_object(EVERYWHERE, body, -1) if rng.random() < 0.5 else -1
        else:
            index = -1
    else:
        painter.fill(EVERYWHERE, body, painter.random_tissue())
        inner, index = body, -1
    if rng.random() < 0.5:  # large areas of other tissue that are not objects
        for _ in range(int(rng.integers(1, 4))):
            cells = int(rng.integers(2, 7))
            field = smooth_noise(rng, size, cells, cells) > rng.uniform(0.3, 1.2)
            painter.fill(EVERYWHERE, field & inner, painter.random_tissue())
    if inner.sum() < 50:
        inner = np.ones((size, size), bool)
    crowded = rng.random() < 0.35  # as inside a body: no space between organs
    if crowded or rng.random() < 0.3:
        painter.pack(inner, index, mirrored=crowded and rng.random() < 0.7)
    if crowded:
        painter.column(index)
    else:
        _scatter(painter, inner, index)
    if rng.random() < 0.4:  # vessels and bright spots that are not objects
        cells = int(rng.integers(20, 60))
        spots = smooth_noise(rng, size, cells, cells) > rng.uniform(1.5, 2.2)
        painter.fill(EVERYWHERE, spots & body, painter.random_tissue())
    return painter, body


def _scatter(painter: Painter, inner: np.ndarray, index: int) -> None:
    """Paint organs at random places in a region [H, W], then sometimes mixed organs."""
    rng, size = painter.rng, painter.size
    ys, xs = np.nonzero(inner)
    count = int(np.exp(rng.uniform(np.log(3), np.log(16))))
    # areas from 0.4 % to 20 % of the image, log-uniform, usually large ones first
    areas = np.exp(rng.uniform(np.log(0.004), np.log(0.20), count))
    areas = np.sort(areas)[::-1] if rng.random() < 0.8 else areas
    for area in areas:
        at = int(rng.integers(len(ys)))
        kind = rng.choice(["ellipse", "harmonic", "warped"]) if rng.random() < 0.35 else None
        painter.organ(
            ys[at], xs[at], size * np.sqrt(area / np.pi), index,
            inner if rng.random() < 0.8 else None, kind=kind,
        )  # fmt: skip
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(len(ys)))
            area = np.exp(rng.uniform(np.log(0.008), np.log(0.2)))
            painter.mixed_organ(ys[at], xs[at], size * np.sqrt(area / np.pi), index)


def _visible_objects(painter: Painter) -> tuple[np.ndarray, np.ndarray]:
    """Masks [K, H, W] and parents [K] of the objects that are large and visible enough."""
    count = len(painter.parents)
    size = painter.size
    flat = painter.owner.ravel()
    own = [flat == k for k in range(count)]
    for k in range(count - 1, -1, -1):  # children are painted after their parents
        if painter.parents[k] >= 0:
            own[painter.parents[k]] |= own[k]
    masks: list[np.ndarray] = []
    new_index: dict[int, int] = {}
    parents: list[int] = []
    for k in range(count):
        area = int(own[k].sum())
        share = area / (size * size)
        visible = area / max(1, painter.painted[k])
        parent = painter.parents[k]
        while parent >= 0 and parent not in new_index:
            parent = painter.parents[parent]
        if not SMALLEST_AREA <= share <= LARGEST_AREA or visible < 0.6:
            continue
        if parent >= 0 and area > 0.85 * masks[new_index[parent]].sum():
            continue  # nearly the same as its parent
        new_index[k] = len(masks)
        masks.append(own[k])
        parents.append(new_index[parent] if parent >= 0 else -1)
    stacked = np.array(masks, bool).reshape(len(masks), size, size)
    return stacked, np.array(parents, int)


def _blur(image: np.ndarray, sigma_y: float, sigma_x: float) -> np.ndarray:
    return ndimage.gaussian_filter(image, (sigma_y, sigma_x), truncate=2.5)


def _class_means(rng: np.random.Generator, n: int) -> np.ndarray:
    """Random mean grey values [n] of the tissue classes; class 0 is the background."""
    means = rng.uniform(0.05, 1, n).astype(np.float32)
    if rng.random() < 0.5:  # similar means: weak edges everywhere
        means = 0.5 + (means - 0.5) * rng.uniform(0.35, 0.9)
    similar_share = rng.choice([0.2, 0.5])
    for k in range(2, n):  # some classes differ from another one only slightly or in texture
        if rng.random() < similar_share:
            means[k] = means[int(rng.integers(1, k))] + rng.normal(0, 0.05)
    means[0] = rng.choice([0.0, 0.02, rng.uniform(0, 0.3)])
    return means


def _render(rng: np.random.Generator, painter: Painter, body: np.ndarray) -> np.ndarray:
    """The image of the tissue map, as from a scanner: [H, W] float32 in [0, 1]."""
    size, n = painter.size, painter.n_classes
    means = _class_means(rng, n)
    image = means[painter.tissue] + painter.shade
    strength = rng.choice([0.3, 1.0, 1.6]) * rng.gamma(1.2, 0.05, n)
    for k in range(1, n):
        inside = painter.tissue == k
        if strength[k] > 0.01 and inside.any():
            image[inside] += np.float32(min(strength[k], 0.22)) * texture(rng, size)[inside]
        if rng.random() < 0.25:  # uneven tissue, whose edges fade in places
            image[inside] += rng.uniform(0.02, 0.08) * smooth_noise(rng, size, 3, 3)[inside]
    sharpness = 1.1 if rng.random() < 0.7 else 2.2
    image = _blur(image, *(rng.uniform(0.4, sharpness) * np.exp(rng.normal(0, 0.15, 2))))
    if rng.random() < 0.4:  # low resolution, sometimes anisotropic
        y, x = size / np.exp(rng.uniform(0, np.log(2.6), 2))
        if rng.random() < 0.6:
            x = y
        down_y, down_x = _resize_matrix(size, int(y)), _resize_matrix(size, int(x))
        image = down_y @ image @ down_x.T
        image = _resize_matrix(int(y), size) @ image @ _resize_matrix(int(x), size).T
    if rng.random() < 0.8:
        image = image * np.exp(rng.uniform(0.05, 0.35) * smooth_noise(rng, size, 2, 2))
    if rng.random() < 0.12:  # endorectal coil: the signal falls with the distance from a point
        axis = (np.arange(size, dtype=np.float32) + 0.5) / size
        y, x = rng.uniform(0.3, 0.9, 2)
        distance = np.hypot(axis[:, None] - np.float32(y), axis[None] - np.float32(x))
        image = image * np.exp(-distance / np.float32(rng.uniform(0.15, 0.6)))
    elif rng.random() < 0.3:  # surface coil
        axis = np.linspace(0, 1, size, dtype=np.float32)
        slope = rng.normal(0, 1, 2)
        image = image * np.exp(
            -rng.uniform(0.2, 0.8) * (slope[0] * axis[:, None] + slope[1] * axis)
        )
    if rng.random() < 0.25:  # motion ghosts
        shift, direction = int(rng.integers(3, size // 2)), int(rng.integers(2))
        image = image + rng.uniform(0.03, 0.15) * np.roll(image, shift, direction)
    if rng.random() < 0.12:  # streaks
        lines = rng.normal(0, 0.04, (size, 1) if rng.random() < 0.5 else (1, size))
        image = image + lines.astype(np.float32)
    sigma = rng.choice([0.0, rng.uniform(0, 0.03), rng.uniform(0.02, 0.08)])
    if sigma:
        real = image + sigma * rng.standard_normal((size, size), dtype=np.float32)
        other = sigma * rng.standard_normal((size, size), dtype=np.float32)
        image = np.sqrt(real * real + other * other) if rng.random() < 0.7 else real
        if rng.random() < 0.3:
            image = _blur(image, 0.6, 0.6)
    low, high = np.percentile(image[::2, ::2], (1, 99))
    image = np.clip((image - low) / max(high - low, 1e-3), 0, 1)
    image = image ** np.float32(np.exp(rng.normal(0, 0.3)))
    if rng.random() < 0.25:
        image = 1 - image
    if rng.random() < 0.4:
        image = np.where(body, image, 0)
    return image.astype(np.float32)


def random_scene(seed: int, size: int = 192) -> Scene:
    """The random scene of a seed, `size` x `size` pixels."""
    rng = np.random.default_rng(seed)
    while True:
        painter, body = _layout(rng, size)
        masks, parent = _visible_objects(painter)
        if len(masks):
            break
    image = _render(rng, painter, body)
    return Scene(image, masks, parent)
