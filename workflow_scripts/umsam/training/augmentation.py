"""One random affine per slice, applied alike to image, target and SAM's cached features.

Crop, pixel size, rotation, quarter turns and mirror images compose into a single map from the crop
to the slice. SAM saw the slice, or a view of it, once; its features are sampled where the map puts
the cells of the UNet's bottleneck, so that eq. 7 compares the same places.

Coordinates are continuous pixels, (x, y), with (0, 0) the outer corner of the first pixel, whose
centre is (0.5, 0.5): the convention of ``align_corners=False``.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from umsam.training.unet import STRIDE


@dataclass(frozen=True)
class Affines:
    """Maps from square crops to slices: p_slice = matrix (p_crop - crop / 2) + centre.

    `crop` is the side of a crop in pixels. `matrix` is [B, 2, 2], `centre` [B, 2] (x, y) and `size`
    [B, 2] (height, width of each slice), all float32.
    """

    matrix: Tensor
    centre: Tensor
    size: Tensor
    crop: int

    def to(self, device: str) -> "Affines":
        """The same maps on another device."""
        return Affines(
            self.matrix.to(device), self.centre.to(device), self.size.to(device), self.crop
        )

    def grid(self, cells: int) -> Tensor:
        """Where the centres of cells x cells squares of each crop lie in its slice.

        Returns [B, cells, cells, 2], (x, y) in pixels.
        """
        step = self.crop / cells
        axis = (torch.arange(cells, device=self.matrix.device) + 0.5) * step - self.crop / 2
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        offset = torch.einsum("bij,hwj->bhwi", self.matrix, torch.stack([x, y], dim=-1))
        return offset + self.centre[:, None, None]


def random_affines(
    size: Tensor,
    crop: int,
    rotation: float,
    flip: bool,
    rng: np.random.Generator,
    zoom: Tensor | None = None,
    scaling: float = 0.0,
) -> Affines:
    """Draw one affine per slice.

    Parameters
    ----------
    size
        Height and width of each slice, [B, 2].
    crop
        Side of the crop in pixels. A slice that is smaller lies in the middle of its crop.
    rotation
        Largest rotation in degrees, either way.
    flip
        Whether to turn by multiples of 90 degrees and mirror, too.
    rng
        All draws come from here.
    zoom
        Pixels of the slice to one of the crop along y and x, [B, 2]; none: 1.
    scaling
        Things appear larger or smaller by a random factor of up to 1 + scaling.
    """
    zoom = torch.ones_like(size, dtype=torch.float32) if zoom is None else zoom
    angle, mirror, centre, scale = [], [], [], []
    for (height, width), (zoom_y, zoom_x) in zip(size.tolist(), zoom.tolist(), strict=True):
        centre_y = (_start(round(height / zoom_y), crop, rng) + crop / 2) * zoom_y
        centre_x = (_start(round(width / zoom_x), crop, rng) + crop / 2) * zoom_x
        centre.append([centre_x, centre_y])
        turns, mirrored = (int(rng.integers(4)), bool(rng.integers(2))) if flip else (0, False)
        angle.append(np.deg2rad(rng.uniform(-rotation, rotation)) + turns * np.pi / 2)
        mirror.append(-1.0 if mirrored else 1.0)
        scale.append(np.exp(rng.uniform(-1, 1) * np.log1p(scaling)))
    cos, sin, mirror = np.cos(angle), np.sin(angle), np.array(mirror)
    matrix = np.stack([np.stack([cos * mirror, -sin], -1), np.stack([sin * mirror, cos], -1)], -2)
    pixels_per_pixel = zoom.flip(-1).cpu().numpy() * np.array(scale)[:, None]
    matrix = pixels_per_pixel[:, :, None] * matrix
    tensors = (torch.as_tensor(np.asarray(a), dtype=torch.float32) for a in (matrix, centre))
    return Affines(*(t.to(size.device) for t in tensors), size.float(), crop)


def _start(length: int, crop: int, rng: np.random.Generator) -> int:
    """First pixel of the crop along one axis; negative where the slice is padded."""
    return int(rng.integers(length - crop + 1)) if length > crop else -((crop - length) // 2)


def sample_images(images: Tensor, affines: Affines, mode: str = "bilinear") -> Tensor:
    """The crops of a batch of slices; zero outside of the slices.

    Parameters
    ----------
    images
        [B, N, H, W]. Slices smaller than H x W lie at the top left, zero to the right and below.
    mode
        ``bilinear`` for images, ``nearest`` for targets.

    Returns
    -------
    Tensor
        [B, N, crop, crop].
    """
    grid = _normalised(affines.grid(affines.crop), images.shape[-1], images.shape[-2])
    return F.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)


def sample_sam_features(
    features: Tensor, affines: Affines, view: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """SAM's features at the cells of the bottleneck.

    Parameters
    ----------
    features
        [B, D, h, w], float16 or float32. A map covers the square of side max(H, W) whose top left
        corner is the view's: SAM pads at the right or bottom.
    view
        What SAM saw of each slice, [B, 4]: first row and column, height H and width W in pixels;
        none: all of it.

    Returns
    -------
    sampled
        [B, D, crop/16, crop/16], float32. Cells that hold nothing but padding are never read:
        within half a cell of the border the outermost cell's feature stands.
    valid
        Bool [B, crop/16, crop/16]: the centre of the bottleneck's cell lies in the view.
    """
    points = affines.grid(affines.crop // STRIDE)
    size = affines.size
    if view is not None:
        points = points - view[:, None, None, :2].flip(-1)
        size = view[:, 2:].float()
    width_height = size.flip(-1)
    extent = width_height[:, None, None]
    valid = ((points >= 0) & (points <= extent)).all(dim=-1)

    cells = torch.tensor([features.shape[-1], features.shape[-2]], device=points.device)
    cells_per_pixel = cells / size.amax(dim=-1, keepdim=True)
    points = points * cells_per_pixel[:, None, None]
    last = (width_height * cells_per_pixel - 1e-3).ceil()[:, None, None] - 0.5
    points = torch.minimum(points.clamp(min=0.5), last)
    grid = _normalised(points, features.shape[-1], features.shape[-2])
    sampled = F.grid_sample(
        features.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled, valid


def add_noise(images: Tensor, sd: float, probability: float, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise of deviation `sd` to each slice [B, 1, H, W] with `probability`."""
    shape, device = (len(images), 1, 1, 1), images.device
    chosen = torch.rand(shape, generator=generator, device=device) < probability
    return images + sd * chosen * torch.randn(images.shape, generator=generator, device=device)


def change_contrast(images: Tensor, gamma: float, generator: torch.Generator) -> Tensor:
    """Raise each slice [B, 1, H, W] to a random power between exp(-gamma) and exp(gamma).

    Intensities below 0 count as 0, whose power is 0.
    """
    shape, device = (len(images), 1, 1, 1), images.device
    draw = 2 * torch.rand(shape, generator=generator, device=device) - 1
    return images.clamp(min=0) ** torch.exp(gamma * draw)


def _normalised(points: Tensor, width: int, height: int) -> Tensor:
    """Pixels to the [-1, 1] of grid_sample."""
    return points * (2 / torch.tensor([width, height], device=points.device)) - 1
