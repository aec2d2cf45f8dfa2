"""Generated volumes on which the method has to work for its own reasons.

Each volume is a body with one target organ among things that only one step of the method can tell
from it:

- **look-alikes in shape**: as large as the target, inside the shape priors, of another texture.
  Only the clustering of the features separates them, and only the mean attribute of a cluster tells
  which cluster is the target's.
- **look-alikes in texture**: the target's own texture in an elongated shape. The clustering would
  take them for the target; the aspect prior has removed them before.
- **clutter**: a smooth organ, vessels, a spine, the body with its fat.

The target lies in the middle slices only. Voxels are anisotropic, a bias field and Rician noise lie
over everything, and four sites have contrasts of their own (one of them inverted, as T1 is to T2).

kind ``brain``
    A round target (width / height about 1, 3 to 8 % of the slice). The shape look-alikes are about
    1.3 times as wide as high. Priors that fit: area ratio 0.01 to 0.2, aspect 2/3 to 1.5,
    ``aspect_ratio`` with a mean of 1.0.
kind ``prostate``
    A target of about 1200 mm2 (mean over its slices), 1.0 to 1.6 times as wide as high. The look-
    alikes have shapes like it and one size like it, but are mostly small. Priors that fit: area
    ratio 0.01 to 0.3, aspect 0.5 to 2, ``area_mm2`` with a mean of 1200.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from umsam.errors import InputError

KINDS = ("brain", "prostate")
SHAPE = (10, 96, 96)
SPACING = (3.5, 1.25, 1.25)  # mm; z, y, x
CASE_NAME = re.compile(r"site([1-4])-(\d+)")


@dataclass(frozen=True)
class Site:
    """How a scanner renders tissue values in [0, 1]."""

    gain: float
    gamma: float
    inverted: bool
    noise: float  # standard deviation, as a share of the brightest tissue
    bias: float  # standard deviation of the logarithm of the bias field


SITES = {
    1: Site(gain=400, gamma=1.0, inverted=False, noise=0.02, bias=0.08),
    2: Site(gain=1100, gamma=1.3, inverted=False, noise=0.03, bias=0.15),
    3: Site(gain=700, gamma=0.8, inverted=False, noise=0.045, bias=0.10),
    4: Site(gain=250, gamma=1.0, inverted=True, noise=0.03, bias=0.12),
}


@dataclass(frozen=True)
class Tissue:
    """A tissue: its mean value, its texture, and a rim (value, width in pixels)."""

    value: float
    texture: str  # smooth, folds, stripes or mottle
    amplitude: float
    rim: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Organ:
    """What is placed: a tissue, semi-axes in pixels (x, y) and half its height in slices."""

    tissue: Tissue
    axes: tuple[float, float]
    half_height: float
    center_z: float
    tilt: float = 8.0  # largest rotation, degrees: more would change the box's aspect ratio


BODY = Tissue(0.34, "mottle", 0.05)
FAT = Tissue(0.80, "mottle", 0.06)
MARROW = Tissue(0.72, "smooth", 0.03, rim=(0.10, 1.2))
FOLDS = Tissue(0.62, "folds", 0.22, rim=(0.06, 1.2))
STRIPES = Tissue(0.66, "stripes", 0.16, rim=(0.12, 1.2))
FLUID = Tissue(0.95, "smooth", 0.02, rim=(0.14, 1.2))
VESSEL_VALUES = (0.08, 0.95)

FAT_RING = 4.5  # pixels
MARGIN = 2.0  # pixels between two things
LAYOUTS = 8  # tries at finding room for everything
SMALLEST_SLICE = 0.25  # an organ ends where its slice is smaller than this share of its largest


def phantom_case(kind: str, case: str) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """`phantom_volume` of a case named ``site<1-4>-<number>``; the name alone decides the volume.

    Raises
    ------
    InputError
        The case has another name.
    """
    match = CASE_NAME.fullmatch(case)
    if not match:
        raise InputError(
            f"phantom case {case!r}: cases of a phantom data set are named site<1 to 4>-<number>, "
            "for example site2-01. Correct its sample sheet."
        )
    site, number = map(int, match.groups())
    return phantom_volume(kind, 100 * site + number, site)


def phantom_volume(
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
        Anatomy and noise; the same seed gives the same volume.
    site
        A key of `SITES`: contrast, bias and noise.
    shape
        (Z, Y, X), at least (8, 96, 96).
    spacing
        (z, y, x) in mm; the areas of the kind ``prostate`` are in mm2.

    Returns
    -------
    image, label, spacing
        float32 [Z, Y, X] of whole numbers as a scanner stores them, uint8 [Z, Y, X], and (z, y, x).
    """
    if kind not in KINDS:
        raise InputError(f"phantom kind {kind!r}: it must be one of {', '.join(KINDS)}.")
    if site not in SITES:
        raise InputError(f"phantom site {site}: it must be one of {', '.join(map(str, SITES))}.")
    rng = np.random.default_rng([KINDS.index(kind), seed])
    anatomy = phantom_anatomy(rng, kind, shape, spacing)
    image = _scanned(rng, anatomy.tissue, anatomy.body, SITES[site])
    return image, anatomy.masks[0].astype(np.uint8), spacing


# ---- what is in the two kinds; the first organ is the target


def _brain(rng: np.random.Generator, depth: int, pixel_mm2: float) -> list[Organ]:
    middle = (depth - 1) / 2 + rng.uniform(-0.3, 0.3)
    radius = rng.uniform(12.5, 14.5)
    organs = [Organ(FOLDS, _axes(radius, rng.uniform(0.9, 1.1)), 0.3 * depth, middle)]
    for side in (-1, 1):  # look-alikes in shape: another texture, wider than high
        axes = _axes(rng.uniform(10.5, 12.0), rng.uniform(1.2, 1.46))
        organs.append(Organ(STRIPES, axes, 0.35 * depth, middle + side * 0.12 * depth))
    aspect = rng.choice([0.42, 2.4]) * rng.uniform(0.95, 1.05)  # look-alike in texture: elongated
    organs.append(Organ(FOLDS, _axes(9.5, aspect), 0.4 * depth, middle))
    bladder = _axes(rng.uniform(8.0, 9.0), rng.uniform(1.35, 1.45))
    organs.append(Organ(FLUID, bladder, 0.4 * depth, middle + rng.uniform(-1, 1)))
    return organs


def _prostate(rng: np.random.Generator, depth: int, pixel_mm2: float) -> list[Organ]:
    middle = (depth - 1) / 2 + rng.uniform(-0.3, 0.3)

    def axes(area: float, aspect: float) -> tuple[float, float]:
        """Semi-axes for a mean area over the slices in mm2: 0.82 of the largest slice's."""
        return _axes(np.sqrt(area / pixel_mm2 / 0.82 / np.pi), aspect)

    target = axes(rng.uniform(1120, 1280), rng.uniform(1.1, 1.4))
    organs = [Organ(FOLDS, target, 0.3 * depth, middle)]
    # Look-alikes in shape: one is large where there is room for it, the others are small.
    sizes = [rng.uniform(850, 1000) if rng.random() < 0.4 else 420.0, *rng.uniform(320, 460, 2)]
    for size in sizes:
        center = middle + rng.uniform(-0.15, 0.15) * depth
        organs.append(Organ(STRIPES, axes(size, rng.uniform(0.8, 1.4)), 0.4 * depth, center))
    aspect = rng.choice([0.36, 2.8]) * rng.uniform(0.95, 1.05)  # look-alike in texture
    organs.insert(1, Organ(FOLDS, axes(500, aspect), 0.4 * depth, middle))
    organs.append(Organ(FLUID, axes(rng.uniform(240, 340), 1.2), 0.4 * depth, middle))
    return organs


def _axes(radius: float, aspect: float) -> tuple[float, float]:
    """Semi-axes (x, y) of an ellipse as large as a circle of `radius`, `aspect` wide to high."""
    return radius * np.sqrt(aspect), radius / np.sqrt(aspect)


# ---- putting it together


@dataclass(frozen=True)
class Outline:
    """An irregular ellipse in the slice: centre (y, x), semi-axes (x, y), rotation."""

    center: np.ndarray
    axes: tuple[float, float]
    angle: float
    wobble: np.ndarray  # [2, 3]: cosine and sine of the angle's multiples 2 to 4, on the radius

    def distance(self, y: np.ndarray, x: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """About the signed distance in pixels from the outline (below 0: inside)."""
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


def _wobble(rng: np.random.Generator, size: float) -> np.ndarray:
    return rng.normal(0.0, size, (2, 3)) * np.array([0.6, 1.0, 0.6])


@dataclass(frozen=True)
class Anatomy:
    """A body before it is scanned; the first organ is the target.

    Attributes
    ----------
    tissue, body
        Tissue values and the body's coverage of each voxel, both [Z, Y, X] in [0, 1].
    organs, masks
        The organs that found room, and a mask [Z, Y, X] for each.
    """

    tissue: np.ndarray
    body: np.ndarray
    organs: list[Organ]
    masks: list[np.ndarray]


def phantom_anatomy(
    rng: np.random.Generator,
    kind: str,
    shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = SPACING,
) -> Anatomy:
    """Draw a body of a kind: its organs, where they lie, and their tissues."""
    depth, height, width = shape
    organs = (_brain if kind == "brain" else _prostate)(rng, depth, spacing[1] * spacing[2])
    y, x = np.mgrid[:height, :width].astype(float)
    center = np.array([height - 1, width - 1]) / 2 + rng.uniform(-1.5, 1.5, 2)
    body_axes = (0.47 * width, 0.445 * height)
    skin = Outline(center, body_axes, 0.0, _wobble(rng, 0.01)).distance(y, x)
    spine_at = center + np.array([0.35 * height, 0.0])
    spine = Outline(spine_at, (6.0, 4.5), 0.0, _wobble(rng, 0.04)).distance(y, x)

    body = np.broadcast_to(_coverage(skin), shape)
    tissue = _render(rng, FAT, shape) * body
    tissue = _blend(tissue, _render(rng, BODY, shape), _coverage(skin + FAT_RING))
    tissue = _paint(rng, tissue, np.broadcast_to(spine, shape), MARROW)

    free = (skin < -FAT_RING) & (spine > MARGIN)
    layout: dict[int, Outline] = {}
    for _ in range(LAYOUTS):
        layout = max(layout, _layout(rng, organs, free), key=len)
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
            if scale > SMALLEST_SLICE:
                moved = replace(outline, center=outline.center + drift * offset)
                distances[z] = moved.distance(y, x, scale)
        tissue = _paint(rng, tissue, distances, organ.tissue)
        free &= distances.min(axis=0) > MARGIN
        masks.append(distances <= 0)
    placed = [organs[index] for index in sorted(layout)]
    return Anatomy(_with_vessels(rng, tissue, free), body, placed, masks)


def _layout(
    rng: np.random.Generator, organs: Sequence[Organ], free: np.ndarray
) -> dict[int, Outline]:
    """Places, in the order of the organs, that do not touch; one without room is left out."""
    height, width = free.shape
    y, x = np.mgrid[:height, :width].astype(float)
    middle = np.array([height // 2, width // 2], float)
    taken = ~free
    layout = {}
    for index, organ in enumerate(organs):
        angle = np.deg2rad(rng.uniform(-organ.tilt, organ.tilt))
        outline = Outline(middle, organ.axes, angle, _wobble(rng, 0.03))
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
    """Taken pixels under a footprint, [H, W]: for each place that its middle pixel is moved to.

    A footprint that leaves the image comes in again on the other side: onto air, which is taken.
    """
    height, width = taken.shape
    spectrum = np.fft.rfft2(taken) * np.conj(np.fft.rfft2(footprint))
    return np.roll(np.fft.irfft2(spectrum, taken.shape), (height // 2, width // 2), axis=(0, 1))


def _with_vessels(rng: np.random.Generator, tissue: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Ten small dots where there is room: below any sensible smallest area."""
    y, x = np.mgrid[: free.shape[0], : free.shape[1]].astype(float)
    for _ in range(10):
        spots = np.argwhere(free)
        if len(spots) == 0:
            break
        at = spots[rng.integers(len(spots))].astype(float)
        vessel = Outline(at, tuple(rng.uniform(1.2, 2.4, 2)), 0.0, np.zeros((2, 3)))
        distance = vessel.distance(y, x)
        tissue = _blend(tissue, np.float64(rng.choice(VESSEL_VALUES)), _coverage(distance))
        free = free & (distance > MARGIN)
    return tissue


def _coverage(distance: np.ndarray) -> np.ndarray:
    """Share of each pixel that lies inside an outline, from its distance."""
    return np.clip(0.5 - distance, 0.0, 1.0)


def _blend(below: np.ndarray, above: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    return below + (above - below) * coverage


def _paint(
    rng: np.random.Generator, below: np.ndarray, distance: np.ndarray, tissue: Tissue
) -> np.ndarray:
    """Lay a tissue over what is there, its rim just inside the outline."""
    inside = _coverage(distance)
    painted = _blend(below, _render(rng, tissue, below.shape), inside)
    value, width = tissue.rim
    return _blend(painted, np.float64(value), inside - _coverage(distance + width))


# ---- textures and the scanner


def _render(rng: np.random.Generator, tissue: Tissue, shape: Sequence[int]) -> np.ndarray:
    """The tissue everywhere, [Z, Y, X]."""
    return tissue.value + tissue.amplitude * _texture(rng, tissue.texture, shape)


def _texture(rng: np.random.Generator, name: str, shape: Sequence[int]) -> np.ndarray:
    """A texture of mean 0 and about unit size; neighbouring slices are alike, not equal."""
    noise = rng.standard_normal(tuple(shape))
    if name == "smooth":
        return _unit(gaussian_filter(noise, (1.0, 6.0, 6.0)))
    if name == "mottle":
        return _unit(gaussian_filter(noise, (0.7, 2.5, 2.5)))
    if name == "folds":  # a band of wavelengths, squashed: winding ridges
        band = gaussian_filter(noise, (0.6, 1.1, 1.1)) - gaussian_filter(noise, (0.6, 1.9, 1.9))
        return np.tanh(2.0 * _unit(band))
    if name == "stripes":  # oriented and finer
        phase = 2.0 * gaussian_filter1d(_unit(gaussian_filter(noise, (1.0, 7.0, 7.0))), 1.0, axis=0)
        y, x = np.mgrid[: shape[1], : shape[2]]
        return np.sqrt(2.0) * np.sin(2 * np.pi * (0.8 * x + 0.6 * y) / 4.5 + phase)
    raise ValueError(f"unknown texture {name!r}")


def _unit(field: np.ndarray) -> np.ndarray:
    return (field - field.mean()) / field.std()


def _scanned(
    rng: np.random.Generator, tissue: np.ndarray, body: np.ndarray, site: Site
) -> np.ndarray:
    """What the scanner makes of it: contrast, blur, bias field, Rician noise, whole numbers."""
    value = np.clip(tissue, 0.0, 1.0)
    if site.inverted:
        value = (1.02 - value) * body  # air stays dark
    value = gaussian_filter(value**site.gamma, (0.0, 0.5, 0.5))
    bias = np.exp(site.bias * _unit(gaussian_filter(rng.standard_normal(value.shape), (4, 30, 30))))
    real = value * bias + site.noise * rng.standard_normal(value.shape)
    imaginary = site.noise * rng.standard_normal(value.shape)
    return np.rint(site.gain * np.hypot(real, imaginary)).astype(np.float32)
