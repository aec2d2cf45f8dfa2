"""Random layered images with nested objects: the only thing the compact models are trained on.

The idea is domain randomisation as in SynthSeg, SynthStrip and AnyStar: anatomy is never modelled,
but what makes medical slices hard is. A scene is a tree of shapes painted onto each other: a body
on a dark or noisy background, organs in it, parts in the organs; rims, bands and clutter that are
no objects of their own. Tissue classes have a mean and a texture and are shared between objects, so
neighbours can be of one intensity, or differ by nothing but texture. The picture is then degraded
as a scanner would: partial volume, low and anisotropic resolution, coil falloff, bias, ghosts,
Rician noise, gamma, inversion.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

SMALLEST_AREA, LARGEST_AREA = 0.003, 0.45
"""Objects outside these shares of the image are painted but are no targets."""
SMOOTH = ["ellipse", "harmonic"]
"""The kinds of shape with a smooth outline."""
EVERYWHERE = (slice(None), slice(None))
"""The window that is the whole image."""


@dataclass(frozen=True)
class Scene:
    """One image and its objects; an object's mask includes the masks of its descendants."""

    image: np.ndarray
    """[H, W] float32 in [0, 1]."""
    masks: np.ndarray
    """[K, H, W] bool, the visible part of each object; parents come before children."""
    parent: np.ndarray
    """[K] int: the index of the smallest object that holds this one, -1 for none."""

    @property
    def innermost(self) -> np.ndarray:
        """[H, W] int16: the index of the innermost object at each pixel, -1 outside of all."""
        labels = np.full(self.image.shape, -1, np.int16)
        for index, mask in enumerate(self.masks):
            labels[mask] = index
        return labels


@lru_cache(maxsize=256)
def _spline_matrix(size: int, cells: int) -> np.ndarray:
    """[size, cells + 3] cubic B-spline weights: smooth noise is then two small matrix products."""
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


@lru_cache(maxsize=256)
def _resize_matrix(source: int, target: int) -> np.ndarray:
    """[target, source] linear resampling weights; averages when it shrinks."""
    centre = (np.arange(target) + 0.5) * source / target - 0.5
    width = max(1.0, source / target)
    distance = np.abs(centre[:, None] - np.arange(source)[None]) / width
    weights = np.maximum(0, 1 - distance)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def smooth_noise(rng: np.random.Generator, size: int, cells_y: int, cells_x: int) -> np.ndarray:
    """[size, size] smooth random field of about unit variance with the given number of bumps."""
    coarse = rng.standard_normal((cells_y + 3, cells_x + 3), dtype=np.float32)
    field = _spline_matrix(size, cells_y) @ coarse @ _spline_matrix(size, cells_x).T
    return field * 2.0


def _texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """[size, size] texture of zero mean and about unit deviation."""
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
    if kind < 0.80:  # stripes, bent
        angle, period = rng.uniform(0, np.pi), rng.uniform(0.02, 0.10)
        axis = (np.arange(size, dtype=np.float32) + 0.5) / size
        ramp = np.cos(angle) * axis[:, None] + np.sin(angle) * axis[None]
        bend = 0.03 * smooth_noise(rng, size, 5, 5)
        return 1.4 * np.sin(2 * np.pi / period * (ramp + bend))
    if kind < 0.92:  # spots or holes: nodules, cysts, vessels cut across
        cells = int(rng.integers(16, 56))
        spots = smooth_noise(rng, size, cells, cells)
        return rng.choice([-1.0, 1.0]) * np.clip(3 * (spots - 0.9), -0.3, 2.5)
    return rng.standard_normal((size, size), dtype=np.float32)


class _Shape:
    """A shape on a window of the image: `level` is below 1 inside and grows outwards."""

    def __init__(
        self, rng, size: int, cy: float, cx: float, radius: float, kind: str | None = None
    ):
        reach = int(np.ceil(radius * 2.6)) + 2
        y0, x0 = max(0, int(cy) - reach), max(0, int(cx) - reach)
        y1, x1 = min(size, int(cy) + reach + 1), min(size, int(cx) + reach + 1)
        self.window = (slice(y0, y1), slice(x0, x1))
        self.radius = radius
        dy = (np.arange(y0, y1, dtype=np.float32) - np.float32(cy)) / np.float32(radius)
        dx = (np.arange(x0, x1, dtype=np.float32) - np.float32(cx)) / np.float32(radius)
        angle = rng.uniform(0, np.pi)
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        kind = kind or rng.choice(
            ["ellipse", "harmonic", "warped", "blob", "box", "tube", "crescent"],
            p=[0.2, 0.25, 0.22, 0.12, 0.07, 0.07, 0.07],
        )
        stretch = np.exp(abs(rng.normal(0, 0.28))) if kind != "tube" else rng.uniform(1.8, 3.2)
        stretch = np.float32(min(stretch, 3.2) ** 0.5)
        u = (c * dy[:, None] + s * dx[None]) * stretch
        v = (c * dx[None] - s * dy[:, None]) / stretch
        if kind == "box":
            power = rng.uniform(2.5, 6)
            level = (np.abs(u) ** power + np.abs(v) ** power) ** np.float32(1 / power) * 1.1
        elif kind == "tube":
            bend = rng.uniform(-0.35, 0.35)
            level = np.hypot(u + np.float32(bend) * v * v, v)
        elif kind == "crescent":
            level = np.hypot(u, v)
            bite = np.hypot(u - np.float32(rng.uniform(0.5, 0.9)), v)
            level = np.maximum(level, np.float32(rng.uniform(1.3, 1.7)) - bite)
        else:
            level = np.hypot(u, v)
            if kind == "harmonic":
                theta = np.arctan2(v, u)
                edge = np.ones_like(theta)
                for k in (2, 3, 4, 5):
                    a, phase = rng.normal(0, 0.22 / k), rng.uniform(0, 2 * np.pi)
                    edge += np.float32(a) * np.cos(np.float32(k) * theta + np.float32(phase))
                level = level / np.maximum(edge, 0.4)
            elif kind in ("warped", "blob"):
                # a field whose bumps are about as large as the shape, read on the window
                h, w = level.shape
                bumps = int(rng.integers(4, 8)) if kind == "warped" else int(rng.integers(6, 13))
                coarse = rng.standard_normal((bumps + 3, bumps + 3), dtype=np.float32)
                field = _spline_matrix(h, bumps) @ coarse @ _spline_matrix(w, bumps).T
                level = level + np.float32(0.28 if kind == "warped" else 0.55) * field
        self.level = level.astype(np.float32)
        self.kind = kind

    def inside(self, threshold: float = 1.0) -> np.ndarray:
        region = self.level < threshold
        if self.kind == "blob":
            labels, count = ndimage.label(region)
            if count > 1:
                region = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
        return region


class _Painter:
    """Paints shapes onto a class map and remembers which object owns which pixel."""

    def __init__(self, rng: np.random.Generator, size: int):
        self.rng, self.size = rng, size
        self.owner = np.full((size, size), -1, np.int16)
        self.tissue = np.zeros((size, size), np.int16)
        self.shade = np.zeros((size, size), np.float32)
        self.parents: list[int] = []
        self.painted: list[int] = []
        self.n_classes = int(rng.integers(5, 11))

    def new_object(self, window, region, parent: int) -> int:
        index = len(self.parents)
        self.parents.append(parent)
        self.owner[window][region] = index
        self.painted.append(int(region.sum()))
        return index

    def on_image(self, window, region) -> np.ndarray:
        """The region of a window as one of the whole image, bool [size, size]."""
        whole = np.zeros((self.size, self.size), bool)
        whole[window] = region
        return whole

    def fill(self, window, region, tissue: int) -> None:
        self.tissue[window][region] = tissue
        self.shade[window][region] = 0

    def random_class(self, avoid: int | None = None) -> int:
        tissue = int(self.rng.integers(1, self.n_classes))
        if tissue == avoid:
            tissue = 1 + tissue % (self.n_classes - 1)
        return tissue

    def organ(self, cy, cx, radius, parent: int, inside_of=None, depth: int = 0, kind=None) -> None:
        """One object with, by chance, a rim, a shading, parts, and clutter that is no object."""
        rng = self.rng
        shape = _Shape(rng, self.size, cy, cx, radius, kind)
        window = shape.window
        allowed = None if inside_of is None else inside_of[window]
        region = shape.inside()
        if allowed is not None:
            region = region & allowed
        if region.sum() < 12:
            return
        around = int(self.tissue[window][region][0])
        tissue = self.random_class(avoid=around if rng.random() < 0.85 else None)
        thickness = max(rng.uniform(1.0, 3.5), rng.uniform(0.02, 0.16) * radius) / radius
        rim = rng.random()
        if rim < 0.22:  # a rim around it that belongs to the surroundings: skull, fluid, fat
            ring = shape.level < 1 + thickness
            if allowed is not None:
                ring = ring & allowed
            self.fill(window, ring & ~region, self.random_class(avoid=tissue))
        index = self.new_object(window, region, parent)
        self.fill(window, region, tissue)
        if 0.22 <= rim < 0.42:  # a rim of its own: capsule, cortex, wall
            inner = region & (shape.level < 1 - thickness)
            self.fill(window, region & ~inner, self.random_class(avoid=tissue))
            ratio = inner.sum() / max(1, region.sum())
            if 0.15 < ratio < 0.72:  # thick enough for the inside to be an object of its own
                index = self.new_object(window, inner, index)
            region = inner
        elif 0.42 <= rim < 0.50:  # onion: layers within one object
            for level in np.sort(rng.uniform(0.3, 0.9, int(rng.integers(1, 3))))[::-1]:
                self.fill(window, region & (shape.level < level), self.random_class())
        elif radius > 6 and rng.random() < 0.4:
            self.zones(cy, cx, radius, window, region, index)
        if rng.random() < 0.25:  # shading across the object
            direction = rng.normal(0, 1, 2)
            ramp = (
                direction[0] * np.linspace(-1, 1, region.shape[0], dtype=np.float32)[:, None]
                + direction[1] * np.linspace(-1, 1, region.shape[1], dtype=np.float32)[None]
            )
            self.shade[window][region] += (0.15 * ramp)[region].astype(np.float32)
        if radius < 5 or region.sum() < 60:
            return
        inside = self.on_image(window, region)
        if rng.random() < 0.30:  # clutter inside that is no object: two halves, folds, vessels
            self.clutter(inside, window, radius)
        if depth < 2 and rng.random() < (0.5 if depth == 0 else 0.3) and radius > 9:
            ys, xs = np.nonzero(region)
            for _ in range(int(rng.integers(1, 5 if radius > 20 else 3))):
                at = int(rng.integers(len(ys)))
                part = radius * rng.uniform(0.15, 0.6)
                self.organ(
                    ys[at] + window[0].start, xs[at] + window[1].start, part, index, inside,
                    depth + 1,
                )  # fmt: skip

    def off_centre(self, cy, cx, radius, away, size, kinds) -> _Shape:
        """A shape within another; `away` and `size` are ranges, as shares of the other's radius."""
        rng = self.rng
        distance, angle = radius * rng.uniform(*away), rng.uniform(0, 2 * np.pi)
        cy, cx = cy + distance * np.sin(angle), cx + distance * np.cos(angle)
        return _Shape(rng, self.size, cy, cx, radius * rng.uniform(*size), rng.choice(kinds))

    def zones(self, cy, cx, radius, window, region, index: int) -> None:
        """Two zones of one object, the inner one off centre and nodular, as in prostate or kidney.

        Every second inner zone is an object of its own.
        """
        rng = self.rng
        kinds = ["ellipse", "harmonic", "warped"]
        zone = self.off_centre(cy, cx, radius, (0, 0.45), (0.45, 0.8), kinds)
        inner = zone.inside() & self.on_image(window, region)[zone.window]
        if inner.sum() < 12:
            return
        around = self.tissue[zone.window][inner]
        self.fill(zone.window, inner, self.random_class(avoid=int(around[0])))
        if rng.random() < 0.5:
            self.new_object(zone.window, inner, index)
        if rng.random() < 0.7:
            inside = self.on_image(zone.window, inner)
            for _ in range(int(rng.integers(1, 3))):
                self.clutter(inside, zone.window, zone.radius)

    def mixed_organ(self, cy: float, cx: float, radius: float, parent: int) -> None:
        """A smooth organ full of lobes and nodules that differ more from each other than from what
        lies around it, as a prostate: nothing but its outline says that it is one object.

        The lobes are often mirror images. They often leave out a crescent at one side; what they
        fill then is, every second time, an object of its own. Some have a thin capsule.
        """
        rng = self.rng
        shape = _Shape(rng, self.size, cy, cx, radius, rng.choice(SMOOTH))
        window, region = shape.window, shape.inside()
        if region.sum() < 60:
            return
        index = self.new_object(window, region, parent)
        self.fill(window, region, self.random_class())
        inner = region
        if rng.random() < 0.6:
            zone = self.off_centre(cy, cx, radius, (0.1, 0.45), (0.55, 0.85), SMOOTH)
            inner = region & self.on_image(zone.window, zone.inside())[window]
            if rng.random() < 0.5 and inner.sum() >= 12:
                self.new_object(window, inner, index)
        kinds = rng.permutation(np.arange(1, self.n_classes))[: int(rng.integers(2, 5))]
        bumps = np.exp(rng.uniform(np.log(4), np.log(24), len(kinds))).astype(int)
        side = max(region.shape)
        lobes = np.stack([smooth_noise(rng, side, n, n) for n in bumps])
        lobes = lobes[:, : region.shape[0], : region.shape[1]]
        if rng.random() < 0.5:
            lobes = lobes + lobes[:, :, ::-1]
        cell = kinds[lobes.argmax(0)]
        self.tissue[window][inner] = cell[inner]
        if rng.random() < 0.4:
            capsule = np.abs(shape.level - 1) < rng.uniform(0.5, 1.5) / radius
            self.fill(window, capsule, self.random_class())

    def pack(self, inside: np.ndarray, parent: int) -> None:
        """Fills a region [H, W] with cells that touch, as muscles do, often with fascia between.

        A cell gets a tissue none of the cells has that touch it already, if there is one.
        """
        rng, size = self.rng, self.size
        count = int(rng.integers(4, 12))
        fields = np.stack([smooth_noise(rng, size, 4, 4) for _ in range(count)])
        cell = fields.argmax(0)
        packed = np.zeros((size, size), bool)
        for k in range(count):
            labels, pieces = ndimage.label((cell == k) & inside)
            for piece in range(1, min(pieces, 3) + 1):
                region = labels == piece
                if region.sum() < 30:
                    continue
                touching = self.tissue[ndimage.binary_dilation(region) & packed]
                others = np.setdiff1d(np.arange(1, self.n_classes), touching)
                tissue = int(rng.choice(others)) if len(others) else self.random_class()
                self.fill(EVERYWHERE, region, tissue)
                self.new_object(EVERYWHERE, region, parent)
                packed |= region
        if rng.random() < 0.6:
            top = np.partition(fields, count - 2, axis=0)[-2:]
            fascia = (top[1] - top[0] < rng.uniform(0.05, 0.25)) & inside
            self.fill(EVERYWHERE, fascia, self.random_class())

    def clutter(self, inside, window, radius) -> None:
        rng = self.rng
        ys, xs = np.nonzero(inside[window])
        if not len(ys):
            return
        for _ in range(int(rng.integers(1, 5))):
            at = int(rng.integers(len(ys)))
            cy, cx = ys[at] + window[0].start, xs[at] + window[1].start
            spot = _Shape(rng, self.size, cy, cx, max(1.2, radius * rng.uniform(0.05, 0.35)))
            region = spot.inside() & inside[spot.window]
            self.fill(spot.window, region, self.random_class())


def _layout(rng: np.random.Generator, size: int) -> tuple[_Painter, np.ndarray]:
    """Paints the tree; gives the painter and the region of the body [H, W] bool."""
    painter = _Painter(rng, size)
    body = np.ones((size, size), bool)
    if rng.random() < 0.75:  # a body outline, often larger than the field of view
        cy, cx = size * (0.5 + rng.normal(0, 0.07, 2))
        radius = size * rng.uniform(0.33, 0.75)
        shape = _Shape(
            rng, size, cy, cx, radius, rng.choice(["ellipse", "harmonic", "box", "warped"])
        )
        body = painter.on_image(shape.window, shape.inside())
        first = painter.random_class()
        painter.fill(EVERYWHERE, body, first)
        inner = body
        edge = 1.0
        for _ in range(int(rng.integers(0, 4))):  # skin, fat, muscle
            edge -= max(rng.uniform(0.01, 0.10), 1.2 / radius)
            layer = painter.on_image(shape.window, shape.inside(edge))
            painter.fill(EVERYWHERE, layer, painter.random_class())
            inner = layer
        if inner.sum() > 0.05 * size * size:
            index = painter.new_object(EVERYWHERE, body, -1) if rng.random() < 0.5 else -1
        else:
            index = -1
    else:
        painter.fill(EVERYWHERE, body, painter.random_class())
        inner, index = body, -1
    if rng.random() < 0.5:  # large fields of other tissue, no objects of their own
        for _ in range(int(rng.integers(1, 4))):
            cells = int(rng.integers(2, 7))
            field = smooth_noise(rng, size, cells, cells) > rng.uniform(0.3, 1.2)
            painter.fill(EVERYWHERE, field & inner, painter.random_class())
    ys, xs = np.nonzero(inner)
    if len(ys) < 50:
        ys, xs = np.nonzero(np.ones((size, size), bool))
        inner = np.ones((size, size), bool)
    if rng.random() < 0.4:
        painter.pack(inner, index)
    count = int(np.exp(rng.uniform(np.log(3), np.log(16))))
    # radius of a disc whose area is drawn log-uniformly from 0.4 % to 20 % of the image
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
    if rng.random() < 0.4:  # vessels and bright spots all over: nothing of it is an object
        cells = int(rng.integers(20, 60))
        spots = smooth_noise(rng, size, cells, cells) > rng.uniform(1.5, 2.2)
        painter.fill(EVERYWHERE, spots & body, painter.random_class())
    return painter, body


def _visible_objects(painter: _Painter) -> tuple[np.ndarray, np.ndarray]:
    """Masks [K, H, W] and parents [K] of the objects that can be seen well enough to count."""
    count = len(painter.parents)
    size = painter.size
    flat = painter.owner.ravel()
    own = [flat == k for k in range(count)]
    for k in range(count - 1, -1, -1):  # children are painted after their parents
        if painter.parents[k] >= 0:
            own[painter.parents[k]] |= own[k]
    kept, new_index, parents = [], {}, []
    for k in range(count):
        area = int(own[k].sum())
        share = area / (size * size)
        seen = area / max(1, painter.painted[k])
        parent = painter.parents[k]
        while parent >= 0 and parent not in new_index:
            parent = painter.parents[parent]
        if not SMALLEST_AREA <= share <= LARGEST_AREA or seen < 0.6:
            continue
        if parent >= 0 and area > 0.85 * kept[new_index[parent]].sum():
            continue  # hardly to be told from its parent
        new_index[k] = len(kept)
        kept.append(own[k])
        parents.append(new_index[parent] if parent >= 0 else -1)
    masks = np.array(kept, bool).reshape(len(kept), size, size)
    return masks, np.array(parents, int)


def _blur(image: np.ndarray, sigma_y: float, sigma_x: float) -> np.ndarray:
    return ndimage.gaussian_filter(image, (sigma_y, sigma_x), truncate=2.5)


def _render(rng: np.random.Generator, painter: _Painter, body: np.ndarray) -> np.ndarray:
    """The class map as a scanner would show it: [H, W] float32 in [0, 1]."""
    size, n = painter.size, painter.n_classes
    means = rng.uniform(0.05, 1, n).astype(np.float32)
    if rng.random() < 0.5:  # crowd the means: weak edges between all of them
        means = 0.5 + (means - 0.5) * rng.uniform(0.35, 0.9)
    alike = rng.choice([0.2, 0.5])
    for k in range(2, n):  # some classes differ from another by a little, or by texture alone
        if rng.random() < alike:
            means[k] = means[int(rng.integers(1, k))] + rng.normal(0, 0.05)
    means[0] = rng.choice([0.0, 0.02, rng.uniform(0, 0.3)])
    image = means[painter.tissue] + painter.shade
    strength = rng.choice([0.3, 1.0, 1.6]) * rng.gamma(1.2, 0.05, n)
    for k in range(1, n):
        where = painter.tissue == k
        if strength[k] > 0.01 and where.any():
            image[where] += np.float32(min(strength[k], 0.22)) * _texture(rng, size)[where]
        if rng.random() < 0.25:  # uneven tissue: its edges fade here and there
            image[where] += rng.uniform(0.02, 0.08) * smooth_noise(rng, size, 3, 3)[where]
    sharpness = 1.1 if rng.random() < 0.7 else 2.2
    image = _blur(image, *(rng.uniform(0.4, sharpness) * np.exp(rng.normal(0, 0.15, 2))))
    if rng.random() < 0.4:  # low resolution, not always the same along both axes
        y, x = size / np.exp(rng.uniform(0, np.log(2.6), 2))
        if rng.random() < 0.6:
            x = y
        down_y, down_x = _resize_matrix(size, int(y)), _resize_matrix(size, int(x))
        image = down_y @ image @ down_x.T
        image = _resize_matrix(int(y), size) @ image @ _resize_matrix(int(x), size).T
    if rng.random() < 0.8:
        image = image * np.exp(rng.uniform(0.05, 0.35) * smooth_noise(rng, size, 2, 2))
    if rng.random() < 0.12:  # a coil inside the body: bright around a point, dark far from it
        axis = (np.arange(size, dtype=np.float32) + 0.5) / size
        y, x = rng.uniform(0.3, 0.9, 2)
        far = np.hypot(axis[:, None] - np.float32(y), axis[None] - np.float32(x))
        image = image * np.exp(-far / np.float32(rng.uniform(0.15, 0.6)))
    elif rng.random() < 0.3:  # one surface coil
        axis = np.linspace(0, 1, size, dtype=np.float32)
        along = rng.normal(0, 1, 2)
        image = image * np.exp(
            -rng.uniform(0.2, 0.8) * (along[0] * axis[:, None] + along[1] * axis)
        )
    if rng.random() < 0.25:  # ghosts and streaks of motion
        shift, axis = int(rng.integers(3, size // 2)), int(rng.integers(2))
        image = image + rng.uniform(0.03, 0.15) * np.roll(image, shift, axis)
    if rng.random() < 0.12:
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
    """One random scene of `size` x `size` pixels; the same seed gives the same scene."""
    rng = np.random.default_rng(seed)
    while True:
        painter, body = _layout(rng, size)
        masks, parent = _visible_objects(painter)
        if len(masks):
            break
    image = _render(rng, painter, body)
    return Scene(image, masks, parent)
