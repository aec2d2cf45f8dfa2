"""Generated volumes on which each step of the method is necessary.

Each volume is a body with one target organ and other structures. Only one step of the method can
separate each of them from the target:

- **Look-alikes in shape** have the size of the target, pass the shape priors and differ in
  texture. Only the clustering of the features separates them, and only the mean attribute of a
  cluster identifies the target cluster.
- **Look-alikes in texture** have the texture of the target and an elongated shape. The clustering
  would group them with the target, so the aspect prior must reject them first.
- **Clutter** is a smooth organ, vessels, a spine, and the body with its fat.

The target lies only in the middle slices. Voxels are anisotropic. A bias field and Rician noise
cover the volume, and four sites have different contrasts (one of them inverted, as T1 is to T2).

Kind ``brain``
    A round target (width / height about 1, 3 to 8 % of the slice). The look-alikes in shape are
    about 1.3 times as wide as high. Suitable priors: area ratio 0.01 to 0.2, aspect ratio 2/3 to
    1.5, ``aspect_ratio`` with a mean of 1.0.
Kind ``prostate``
    A target of about 1200 mm2 (mean over its slices), 1.0 to 1.6 times as wide as high. The
    look-alikes have similar shapes. One of them can have a similar size, the others are small.
    Suitable priors: area ratio 0.01 to 0.3, aspect ratio 0.5 to 2, ``area_mm2`` with a mean of
    1200.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from umsam.data.phantom_rendering import SITES, Tissue, blend, coverage, paint, render, scan
from umsam.errors import InputError

KINDS = ("brain", "prostate")
SHAPE = (10, 96, 96)
SPACING = (3.5, 1.25, 1.25)  # mm; z, y, x
CASE_NAME = re.compile(r"site([1-4])-(\d+)")


@dataclass(frozen=True)
class Organ:
    """An organ: tissue, semi-axes in pixels (x, y), half height and middle in slices."""

    tissue: Tissue
    axes: tuple[float, float]
    half_height: float
    center_z: float
    tilt: float = 8.0  # largest rotation in degrees; more would change the aspect ratio of the box


BODY = Tissue(0.34, "mottle", 0.05)
FAT = Tissue(0.80, "mottle", 0.06)
MARROW = Tissue(0.72, "smooth", 0.03, rim=(0.10, 1.2))
FOLDS = Tissue(0.62, "folds", 0.22, rim=(0.06, 1.2))
STRIPES = Tissue(0.66, "stripes", 0.16, rim=(0.12, 1.2))
FLUID = Tissue(0.95, "smooth", 0.02, rim=(0.14, 1.2))
VESSEL_VALUES = (0.08, 0.95)

FAT_RING = 4.5  # pixels
MARGIN = 2.0  # pixels between two structures
LAYOUTS = 8  # attempts to place all organs
MIN_SCALE = 0.25  # an organ ends where it is narrower than this fraction of its largest slice


def generate_case(kind: str, case: str) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Generate the volume of a case named ``site<1-4>-<number>``; see `generate_volume`.

    Raises
    ------
    InputError
        The case has a different name.
    """
    match = CASE_NAME.fullmatch(case)
    if not match:
        raise InputError(
            f"phantom case {case!r}: cases of a phantom data set are named site<1 to 4>-<number>, "
            "for example site2-01. Correct the sample sheet."
        )
    site, number = map(int, match.groups())
    return generate_volume(kind, 100 * site + number, site)


def generate_volume(
    kind: str,
    seed: int,
    site: int,
    shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = SPACING,
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Generate one volume.

    Parameters
    ----------
    kind
        ``brain`` or ``prostate``.
    seed
        Seed of anatomy and noise.
    site
        A key of `SITES`.
    shape
        (Z, Y, X), at least (8, 96, 96).
    spacing
        Voxel size in mm (z, y, x).

    Returns
    -------
    image, label, spacing
        float32 [Z, Y, X] with whole numbers, as scanners store them; uint8 [Z, Y, X]; the voxel
        size in mm (z, y, x).
    """
    if kind not in KINDS:
        raise InputError(f"phantom kind {kind!r}: it must be one of {', '.join(KINDS)}.")
    if site not in SITES:
        raise InputError(f"phantom site {site}: it must be one of {', '.join(map(str, SITES))}.")
    rng = np.random.default_rng([KINDS.index(kind), seed])
    anatomy = generate_anatomy(rng, kind, shape, spacing)
    image = scan(rng, anatomy.tissue, anatomy.body, SITES[site])
    return image, anatomy.masks[0].astype(np.uint8), spacing


# ---- organs of the two kinds; the first organ is the target


def _brain_organs(rng: np.random.Generator, depth: int, pixel_mm2: float) -> list[Organ]:
    middle = (depth - 1) / 2 + rng.uniform(-0.3, 0.3)
    radius = rng.uniform(12.5, 14.5)
    organs = [Organ(FOLDS, _axes(radius, rng.uniform(0.9, 1.1)), 0.3 * depth, middle)]
    for side in (-1, 1):  # look-alikes in shape: different texture, wider than high
        axes = _axes(rng.uniform(10.5, 12.0), rng.uniform(1.2, 1.46))
        organs.append(Organ(STRIPES, axes, 0.35 * depth, middle + side * 0.12 * depth))
    aspect = rng.choice([0.42, 2.4]) * rng.uniform(0.95, 1.05)  # look-alike in texture: elongated
    organs.append(Organ(FOLDS, _axes(9.5, aspect), 0.4 * depth, middle))
    bladder = _axes(rng.uniform(8.0, 9.0), rng.uniform(1.35, 1.45))
    organs.append(Organ(FLUID, bladder, 0.4 * depth, middle + rng.uniform(-1, 1)))
    return organs


def _prostate_organs(rng: np.random.Generator, depth: int, pixel_mm2: float) -> list[Organ]:
    middle = (depth - 1) / 2 + rng.uniform(-0.3, 0.3)

    def axes(area: float, aspect: float) -> tuple[float, float]:
        """Return semi-axes for a mean area in mm2, which is 0.82 of the largest slice's area."""
        return _axes(np.sqrt(area / pixel_mm2 / 0.82 / np.pi), aspect)

    target = axes(rng.uniform(1120, 1280), rng.uniform(1.1, 1.4))
    organs = [Organ(FOLDS, target, 0.3 * depth, middle)]
    # Look-alikes in shape: one is large if it fits, the others are small.
    sizes = [rng.uniform(850, 1000) if rng.random() < 0.4 else 420.0, *rng.uniform(320, 460, 2)]
    for size in sizes:
        center = middle + rng.uniform(-0.15, 0.15) * depth
        organs.append(Organ(STRIPES, axes(size, rng.uniform(0.8, 1.4)), 0.4 * depth, center))
    aspect = rng.choice([0.36, 2.8]) * rng.uniform(0.95, 1.05)  # look-alike in texture
    organs.insert(1, Organ(FOLDS, axes(500, aspect), 0.4 * depth, middle))
    organs.append(Organ(FLUID, axes(rng.uniform(240, 340), 1.2), 0.4 * depth, middle))
    return organs


def _axes(radius: float, aspect: float) -> tuple[float, float]:
    """Return the semi-axes (x, y) of an ellipse with the area of a circle of `radius`."""
    return radius * np.sqrt(aspect), radius / np.sqrt(aspect)


# ---- anatomy


@dataclass(frozen=True)
class Outline:
    """An irregular ellipse in the slice: centre (y, x), semi-axes (x, y), rotation in radians."""

    center: np.ndarray
    axes: tuple[float, float]
    angle: float
    wobble: np.ndarray  # [2, 3]: cosine and sine terms of orders 2 to 4 of the radius

    def distance(self, y: np.ndarray, x: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """Return the approximate signed distance in pixels from the outline, negative inside."""
        dy, dx = y - self.center[0], x - self.center[1]
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        u = (cos * dx + sin * dy) / (self.axes[0] * scale)
        v = (cos * dy - sin * dx) / (self.axes[1] * scale)
        theta = np.arctan2(v, u)
        radius = 1.0 + sum(
            self.wobble[0, i] * np.cos(order * theta) + self.wobble[1, i] * np.sin(order * theta)
            for i, order in enumerate((2, 3, 4))
        )
        relative = np.hypot(u, v) / radius
        return (relative - 1.0) * np.hypot(dx, dy) / np.maximum(relative, 1e-6)


def _draw_wobble(rng: np.random.Generator, size: float) -> np.ndarray:
    return rng.normal(0.0, size, (2, 3)) * np.array([0.6, 1.0, 0.6])


@dataclass(frozen=True)
class Anatomy:
    """A body before the scan; the first organ is the target.

    Attributes
    ----------
    tissue, body
        Tissue values, and the fraction of each voxel inside the body, both [Z, Y, X] in [0, 1].
    organs, masks
        The organs that were placed, and a mask [Z, Y, X] of each.
    """

    tissue: np.ndarray
    body: np.ndarray
    organs: list[Organ]
    masks: list[np.ndarray]


def generate_anatomy(
    rng: np.random.Generator,
    kind: str,
    shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = SPACING,
) -> Anatomy:
    """Draw a body of a kind: organs, positions and tissues."""
    depth, height, width = shape
    organs = (_brain_organs if kind == "brain" else _prostate_organs)(
        rng, depth, spacing[1] * spacing[2]
    )
    y, x = np.mgrid[:height, :width].astype(float)
    center = np.array([height - 1, width - 1]) / 2 + rng.uniform(-1.5, 1.5, 2)
    body_axes = (0.47 * width, 0.445 * height)
    skin = Outline(center, body_axes, 0.0, _draw_wobble(rng, 0.01)).distance(y, x)
    spine_at = center + np.array([0.35 * height, 0.0])
    spine = Outline(spine_at, (6.0, 4.5), 0.0, _draw_wobble(rng, 0.04)).distance(y, x)

    body = np.broadcast_to(coverage(skin), shape)
    tissue = render(rng, FAT, shape) * body
    tissue = blend(tissue, render(rng, BODY, shape), coverage(skin + FAT_RING))
    tissue = paint(rng, tissue, np.broadcast_to(spine, shape), MARROW)

    free = (skin < -FAT_RING) & (spine > MARGIN)
    layout: dict[int, Outline] = {}
    for _ in range(LAYOUTS):
        layout = max(layout, _place_organs(rng, organs, free), key=len)
        if len(layout) == len(organs):
            break
    masks = []
    for index, outline in sorted(layout.items()):
        organ = organs[index]
        drift = rng.uniform(-0.3, 0.3, 2)  # pixels a slice
        distances = np.full(shape, np.inf)
        for z in range(depth):
            offset = z - organ.center_z
            scale = np.sqrt(max(1 - (offset / organ.half_height) ** 4, 0.0))
            if scale > MIN_SCALE:
                moved = replace(outline, center=outline.center + drift * offset)
                distances[z] = moved.distance(y, x, scale)
        tissue = paint(rng, tissue, distances, organ.tissue)
        free &= distances.min(axis=0) > MARGIN
        masks.append(distances <= 0)
    placed = [organs[index] for index in sorted(layout)]
    return Anatomy(_add_vessels(rng, tissue, free), body, placed, masks)


def _place_organs(
    rng: np.random.Generator, organs: Sequence[Organ], free: np.ndarray
) -> dict[int, Outline]:
    """Place the organs in order so that they do not touch; an organ without room is omitted."""
    height, width = free.shape
    y, x = np.mgrid[:height, :width].astype(float)
    middle = np.array([height // 2, width // 2], float)
    taken = ~free
    layout = {}
    for index, organ in enumerate(organs):
        angle = np.deg2rad(rng.uniform(-organ.tilt, organ.tilt))
        outline = Outline(middle, organ.axes, angle, _draw_wobble(rng, 0.03))
        footprint = outline.distance(y, x) < MARGIN
        rows, columns = np.nonzero(free & (_overlap(taken, footprint) < 0.5))
        if len(rows) == 0:
            continue
        chosen = rng.integers(len(rows))
        outline = replace(outline, center=np.array([rows[chosen], columns[chosen]], float))
        layout[index] = outline
        taken = taken | (outline.distance(y, x) < MARGIN)
    return layout


def _overlap(taken: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Count the taken pixels under a footprint for each position of its middle pixel, [H, W].

    A footprint that leaves the image enters again on the other side, where the air is taken.
    """
    height, width = taken.shape
    spectrum = np.fft.rfft2(taken) * np.conj(np.fft.rfft2(footprint))
    return np.roll(np.fft.irfft2(spectrum, taken.shape), (height // 2, width // 2), axis=(0, 1))


def _add_vessels(rng: np.random.Generator, tissue: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Add ten small dots in free places, smaller than any reasonable minimum area."""
    y, x = np.mgrid[: free.shape[0], : free.shape[1]].astype(float)
    for _ in range(10):
        spots = np.argwhere(free)
        if len(spots) == 0:
            break
        at = spots[rng.integers(len(spots))].astype(float)
        vessel = Outline(at, tuple(rng.uniform(1.2, 2.4, 2)), 0.0, np.zeros((2, 3)))
        distance = vessel.distance(y, x)
        tissue = blend(tissue, np.float64(rng.choice(VESSEL_VALUES)), coverage(distance))
        free = free & (distance > MARGIN)
    return tissue
