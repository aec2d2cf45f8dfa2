"""Paints the nested objects of procedural scenes: shapes, organs and the tissue between them."""

import numpy as np
from scipy import ndimage

from umsam.pretraining.random_fields import smooth_noise, spline_matrix

SMOOTH = ["ellipse", "harmonic"]
"""Kinds of shape with a smooth outline."""
EVERYWHERE = (slice(None), slice(None))
"""The window that covers the whole image."""

Window = tuple[slice, slice]
"""Rows and columns of an image."""


class Shape:
    """A random shape in a window of the image: `level` is below 1 inside and grows outwards."""

    def __init__(
        self,
        rng: np.random.Generator,
        size: int,
        cy: float,
        cx: float,
        radius: float,
        kind: str | None = None,
    ) -> None:
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
                # a random field over the window
                h, w = level.shape
                bumps = int(rng.integers(4, 8)) if kind == "warped" else int(rng.integers(6, 13))
                coarse = rng.standard_normal((bumps + 3, bumps + 3), dtype=np.float32)
                field = spline_matrix(h, bumps) @ coarse @ spline_matrix(w, bumps).T
                level = level + np.float32(0.28 if kind == "warped" else 0.55) * field
        self.level: np.ndarray = level.astype(np.float32)
        self.kind = kind
        self.cx = cx

    def mirror(self) -> None:
        """Make the shape symmetric, unless the image edge cuts the window off at one side."""
        columns = self.window[1]
        if abs(columns.start + columns.stop - 1 - 2 * self.cx) < 3:
            self.level = (self.level + self.level[:, ::-1]) / np.float32(2)

    def inside(self, threshold: float = 1.0) -> np.ndarray:
        """The region of the window below a level, bool; of a blob, the largest component."""
        region = self.level < threshold
        if self.kind == "blob":
            labels, count = ndimage.label(region)
            if count > 1:
                region = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
        return region


class Painter:
    """Paints shapes onto a tissue map and records which object owns which pixel."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng, self.size = rng, size
        self.owner = np.full((size, size), -1, np.int16)
        self.tissue = np.zeros((size, size), np.int16)
        self.shade = np.zeros((size, size), np.float32)
        self.parents: list[int] = []
        self.painted: list[int] = []
        self.n_classes = int(rng.integers(5, 11))

    def new_object(self, window: Window, region: np.ndarray, parent: int) -> int:
        """Make a region of a window an object, a part of `parent` (-1: none); returns its index."""
        index = len(self.parents)
        self.parents.append(parent)
        self.owner[window][region] = index
        self.painted.append(int(region.sum()))
        return index

    def on_image(self, window: Window, region: np.ndarray) -> np.ndarray:
        """A region of a window as a region of the whole image, bool [size, size]."""
        mask = np.zeros((self.size, self.size), bool)
        mask[window] = region
        return mask

    def fill(self, window: Window, region: np.ndarray, tissue: int) -> None:
        """Paint a region of a window with one tissue."""
        self.tissue[window][region] = tissue
        self.shade[window][region] = 0

    def random_tissue(self, avoid: int | None = None) -> int:
        """A random tissue class other than background and `avoid`."""
        tissue = int(self.rng.integers(1, self.n_classes))
        if tissue == avoid:
            tissue = 1 + tissue % (self.n_classes - 1)
        return tissue

    def organ(
        self,
        cy: float,
        cx: float,
        radius: float,
        parent: int,
        inside_of: np.ndarray | None = None,
        depth: int = 0,
        kind: str | None = None,
    ) -> None:
        """Paint an object that may have a rim, shading, parts, and clutter that is not an object.

        inside_of: bool [size, size], the region that clips the object; None: the whole image.
        depth: level of nesting; an organ has parts up to depth 2.
        """
        rng = self.rng
        shape = Shape(rng, self.size, cy, cx, radius, kind)
        window = shape.window
        allowed = None if inside_of is None else inside_of[window]
        region = shape.inside()
        if allowed is not None:
            region = region & allowed
        if region.sum() < 12:
            return
        around = int(self.tissue[window][region][0])
        tissue = self.random_tissue(avoid=around if rng.random() < 0.85 else None)
        thickness = max(rng.uniform(1.0, 3.5), rng.uniform(0.02, 0.16) * radius) / radius
        rim = rng.random()
        if rim < 0.22:  # an outer rim that belongs to the surroundings: skull, fluid, fat
            ring = shape.level < 1 + thickness
            if allowed is not None:
                ring = ring & allowed
            self.fill(window, ring & ~region, self.random_tissue(avoid=tissue))
        index = self.new_object(window, region, parent)
        self.fill(window, region, tissue)
        if 0.22 <= rim < 0.42:  # an inner rim that belongs to the object: capsule, cortex, wall
            inner = region & (shape.level < 1 - thickness)
            self.fill(window, region & ~inner, self.random_tissue(avoid=tissue))
            ratio = inner.sum() / max(1, region.sum())
            if 0.15 < ratio < 0.72:  # the rim is so thick that the inside is an object
                index = self.new_object(window, inner, index)
            region = inner
        elif 0.42 <= rim < 0.50:  # concentric layers within one object
            for level in np.sort(rng.uniform(0.3, 0.9, int(rng.integers(1, 3))))[::-1]:
                self.fill(window, region & (shape.level < level), self.random_tissue())
        elif radius > 6 and rng.random() < 0.4:
            self.zones(cy, cx, radius, window, region, index)
        if rng.random() < 0.25:
            self.add_shading(window, region)
        if radius < 5 or region.sum() < 60:
            return
        inside = self.on_image(window, region)
        if rng.random() < 0.30:  # clutter that is not an object: folds, vessels
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

    def add_shading(self, window: Window, region: np.ndarray) -> None:
        """Add a brightness ramp of random direction to a region of a window."""
        direction = self.rng.normal(0, 1, 2)
        ramp = (
            direction[0] * np.linspace(-1, 1, region.shape[0], dtype=np.float32)[:, None]
            + direction[1] * np.linspace(-1, 1, region.shape[1], dtype=np.float32)[None]
        )
        self.shade[window][region] += (0.15 * ramp)[region].astype(np.float32)

    def off_centre(
        self,
        cy: float,
        cx: float,
        radius: float,
        offset: tuple[float, float],
        size: tuple[float, float],
        kinds: list[str],
    ) -> Shape:
        """A random shape near (cy, cx).

        offset, size: ranges of its distance from there and its radius, as shares of `radius`.
        """
        rng = self.rng
        distance, angle = radius * rng.uniform(*offset), rng.uniform(0, 2 * np.pi)
        cy, cx = cy + distance * np.sin(angle), cx + distance * np.cos(angle)
        return Shape(rng, self.size, cy, cx, radius * rng.uniform(*size), rng.choice(kinds))

    def zones(
        self, cy: float, cx: float, radius: float, window: Window, region: np.ndarray, index: int
    ) -> None:
        """Paint an inner zone into object `index`, off-centre and nodular, as in a prostate.

        Half of the inner zones are objects.
        """
        rng = self.rng
        kinds = ["ellipse", "harmonic", "warped"]
        zone = self.off_centre(cy, cx, radius, (0, 0.45), (0.45, 0.8), kinds)
        inner = zone.inside() & self.on_image(window, region)[zone.window]
        if inner.sum() < 12:
            return
        around = self.tissue[zone.window][inner]
        self.fill(zone.window, inner, self.random_tissue(avoid=int(around[0])))
        if rng.random() < 0.5:
            self.new_object(zone.window, inner, index)
        if rng.random() < 0.7:
            inside = self.on_image(zone.window, inner)
            for _ in range(int(rng.integers(1, 3))):
                self.clutter(inside, zone.window, zone.radius)

    def mixed_organ(self, cy: float, cx: float, radius: float, parent: int) -> None:
        """Paint a smooth organ of lobes that differ more from each other than from the background.

        As in many prostates, only the outline shows that the organ is one object. Organ and lobes
        are often symmetric. The lobes often leave a crescent free at one side; in half of these
        cases the lobes together are an object, too. Some organs have a thin capsule. If the
        crescent looks like the surroundings, the capsule is the only border. Vessels or fat around
        the organ are often as uneven as the organ.
        """
        rng = self.rng
        shape = Shape(rng, self.size, cy, cx, radius, rng.choice(SMOOTH))
        if rng.random() < 0.4:
            shape.mirror()
        window, region = shape.window, shape.inside()
        if region.sum() < 60:
            return
        if rng.random() < 0.35:
            halo = ~region & (shape.level < 1 + rng.uniform(0.1, 0.5))
            self.lobes(window, halo, (16, 48))
        around = self.tissue[window][~region & (shape.level < 1.15)]
        index = self.new_object(window, region, parent)
        like_around = len(around) > 0 and rng.random() < 0.3
        tissue = int(np.bincount(around).argmax()) if like_around else self.random_tissue()
        self.fill(window, region, tissue)
        inner = region
        if rng.random() < 0.6:
            zone = self.off_centre(cy, cx, radius, (0.1, 0.45), (0.55, 0.85), SMOOTH)
            inner = region & self.on_image(zone.window, zone.inside())[window]
            if rng.random() < 0.5 and inner.sum() >= 12:
                self.new_object(window, inner, index)
        self.lobes(window, inner, (4, 24))
        if like_around or rng.random() < 0.4:
            capsule = np.abs(shape.level - 1) < rng.uniform(0.5, 1.5) / radius
            self.fill(window, capsule, self.random_tissue(avoid=tissue))

    def lobes(self, window: Window, region: np.ndarray, bumps: tuple[int, int]) -> None:
        """Fill a region with patches of two to four tissues, in half of the cases symmetrically.

        bumps: range of the number of patches of a tissue along the window.
        """
        rng = self.rng
        kinds = rng.permutation(np.arange(1, self.n_classes))[: int(rng.integers(2, 5))]
        low, high = np.log(bumps)
        numbers = np.exp(rng.uniform(low, high, len(kinds))).astype(int)
        side = max(region.shape)
        fields = np.stack([smooth_noise(rng, side, n, n) for n in numbers])
        fields = fields[:, : region.shape[0], : region.shape[1]]
        if rng.random() < 0.5:
            fields = fields + fields[:, :, ::-1]
        self.tissue[window][region] = kinds[fields.argmax(0)][region]

    def column(self, parent: int) -> None:
        """Paint one to three organs near the midline that touch, in a random order."""
        rng, size = self.rng, self.size
        areas = np.exp(rng.uniform(np.log(0.008), np.log(0.12), int(rng.integers(1, 4))))
        radii = size * np.sqrt(areas / np.pi)
        cy = size * rng.uniform(0.3, 0.6)
        places = []
        for above, radius in zip([0, *radii[:-1]], radii, strict=True):
            cy += rng.uniform(0.75, 1.05) * (above + radius) if above else 0
            places.append((cy, size * (0.5 + rng.normal(0, 0.04)), radius))
        for at in rng.permutation(len(places)):
            y, x, radius = places[at]
            if rng.random() < 0.65:
                self.mixed_organ(y, x, radius, parent)
            else:
                self.organ(y, x, radius, parent)

    def pack(self, inside: np.ndarray, parent: int, mirrored: bool = False) -> None:
        """Fill a region [H, W] with cells that touch, like muscles, often with fascia between them.

        A cell differs in tissue from the cells that it touches, if enough tissues exist.
        """
        rng, size = self.rng, self.size
        count = int(rng.integers(4, 12))
        bumps = int(rng.integers(3, 7))
        fields = np.stack([smooth_noise(rng, size, bumps, bumps) for _ in range(count)])
        if mirrored:
            fields = fields + fields[:, :, ::-1]
        cell = fields.argmax(0)
        painted = np.zeros((size, size), bool)
        for k in range(count):
            labels, pieces = ndimage.label((cell == k) & inside)
            for piece in range(1, min(pieces, 3) + 1):
                region = labels == piece
                if region.sum() < 30:
                    continue
                touching = self.tissue[ndimage.binary_dilation(region) & painted]
                others = np.setdiff1d(np.arange(1, self.n_classes), touching)
                tissue = int(rng.choice(others)) if len(others) else self.random_tissue()
                self.fill(EVERYWHERE, region, tissue)
                self.new_object(EVERYWHERE, region, parent)
                painted |= region
        if rng.random() < 0.6:
            top = np.partition(fields, count - 2, axis=0)[-2:]
            fascia = (top[1] - top[0] < rng.uniform(0.05, 0.25)) & inside
            self.fill(EVERYWHERE, fascia, self.random_tissue())

    def clutter(self, inside: np.ndarray, window: Window, radius: float) -> None:
        """Paint one to four small spots into a region of the image, bool [size, size]."""
        rng = self.rng
        ys, xs = np.nonzero(inside[window])
        if not len(ys):
            return
        for _ in range(int(rng.integers(1, 5))):
            at = int(rng.integers(len(ys)))
            cy, cx = ys[at] + window[0].start, xs[at] + window[1].start
            spot = Shape(rng, self.size, cy, cx, max(1.2, radius * rng.uniform(0.05, 0.35)))
            region = spot.inside() & inside[spot.window]
            self.fill(spot.window, region, self.random_tissue())
