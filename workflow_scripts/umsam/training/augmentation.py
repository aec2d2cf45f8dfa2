"""One random affine map per slice, applied to the image, the label and SAM's cached features.

Cropping, pixel size, rotation, quarter turns and mirroring compose into a single map from the patch
to the slice. SAM encoded the slice, or a view of it, once. Its features are sampled where the map
places the cells of the UNet's bottleneck, so that eq. 7 compares the same places.

Coordinates are continuous pixels (x, y). The outer corner of the first pixel is (0, 0) and its
centre is (0.5, 0.5), the convention of ``align_corners=False``.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from umsam.training.unet import STRIDE


@dataclass(frozen=True)
class Affines:
    """Maps from square patches to slices: p_slice = matrix (p_patch - patch_size / 2) + centre.

    Attributes
    ----------
    matrix
        float32 [B, 2, 2].
    centre
        Centre of each patch in its slice, (x, y), float32 [B, 2].
    size
        Height and width of each slice, float32 [B, 2].
    patch_size
        Side of a patch in pixels.
    """

    matrix: Tensor
    centre: Tensor
    size: Tensor
    patch_size: int

    def to(self, device: str) -> "Affines":
        """Copy the maps to another device."""
        matrix, centre, size = (x.to(device) for x in (self.matrix, self.centre, self.size))
        return Affines(matrix, centre, size, self.patch_size)

    def grid(self, cells: int) -> Tensor:
        """Map the centres of cells x cells squares of each patch to its slice.

        Returns positions (x, y) in pixels, [B, cells, cells, 2].
        """
        step = self.patch_size / cells
        axis = (torch.arange(cells, device=self.matrix.device) + 0.5) * step - self.patch_size / 2
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        offset = torch.einsum("bij,hwj->bhwi", self.matrix, torch.stack([x, y], dim=-1))
        return offset + self.centre[:, None, None]


def random_affines(
    size: Tensor,
    patch_size: int,
    rotation: float,
    flip: bool,
    rng: np.random.Generator,
    zoom: Tensor | None = None,
    scaling: float = 0.0,
) -> Affines:
    """Draw one affine map per slice.

    Parameters
    ----------
    size
        Height and width of each slice, [B, 2].
    patch_size
        Side of the patch in pixels. A smaller slice lies in the middle of its patch.
    rotation
        Largest rotation in degrees, in both directions.
    flip
        Also turn by multiples of 90 degrees and mirror.
    rng
        Source of all random numbers.
    zoom
        Pixels of the slice per pixel of the patch (y, x), [B, 2]; 1 by default.
    scaling
        Enlarge or shrink the content by a random factor of up to 1 + scaling.
    """
    zoom = torch.ones_like(size, dtype=torch.float32) if zoom is None else zoom
    angles, mirrors, centres, scales = [], [], [], []
    for (height, width), (zoom_y, zoom_x) in zip(size.tolist(), zoom.tolist(), strict=True):
        centre_y = _draw_start(round(height / zoom_y), patch_size, rng) + patch_size / 2
        centre_x = _draw_start(round(width / zoom_x), patch_size, rng) + patch_size / 2
        centres.append([centre_x * zoom_x, centre_y * zoom_y])
        turns, mirrored = (int(rng.integers(4)), bool(rng.integers(2))) if flip else (0, False)
        angles.append(np.deg2rad(rng.uniform(-rotation, rotation)) + turns * np.pi / 2)
        mirrors.append(-1.0 if mirrored else 1.0)
        scales.append(np.exp(rng.uniform(-1, 1) * np.log1p(scaling)))
    cos, sin, mirror = np.cos(angles), np.sin(angles), np.array(mirrors)
    matrix = np.stack([np.stack([cos * mirror, -sin], -1), np.stack([sin * mirror, cos], -1)], -2)
    pixels_per_pixel = zoom.flip(-1).cpu().numpy() * np.array(scales)[:, None]
    matrix = pixels_per_pixel[:, :, None] * matrix
    tensors = (torch.as_tensor(np.asarray(a), dtype=torch.float32) for a in (matrix, centres))
    matrix_tensor, centre_tensor = (tensor.to(size.device) for tensor in tensors)
    return Affines(matrix_tensor, centre_tensor, size.float(), patch_size)


def _draw_start(length: int, patch_size: int, rng: np.random.Generator) -> int:
    """Draw the first pixel of the patch along one axis; it is negative if the slice is padded."""
    if length > patch_size:
        return int(rng.integers(length - patch_size + 1))
    return -((patch_size - length) // 2)


def sample_images(images: Tensor, affines: Affines, mode: str = "bilinear") -> Tensor:
    """Sample the patches of a batch of slices; the values outside the slices are 0.

    Parameters
    ----------
    images
        [B, N, H, W]. Smaller slices lie at the top left, with zeros to the right and below.
    affines
        Maps from the patches to the slices.
    mode
        ``bilinear`` for images, ``nearest`` for labels.

    Returns
    -------
    Tensor
        [B, N, patch_size, patch_size].
    """
    grid = _to_grid_sample(affines.grid(affines.patch_size), images.shape[-1], images.shape[-2])
    return F.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)


def sample_sam_features(
    features: Tensor, affines: Affines, view: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Sample SAM's features at the cells of the UNet's bottleneck.

    Parameters
    ----------
    features
        [B, D, h, w], float16 or float32. A map covers the square of side max(H, W) at the top left
        corner of the view, because SAM pads at the right or bottom.
    affines
        Maps from the patches to the slices.
    view
        The part of each slice that SAM saw: first row, first column, height H and width W in
        pixels, [B, 4]; the whole slice by default.

    Returns
    -------
    sampled
        float32 [B, D, patch_size/16, patch_size/16]. Cells of pure padding are never read: within
        half a cell of the border, the feature of the outermost cell is used.
    valid
        Whether the centre of a cell of the bottleneck lies in the view, bool
        [B, patch_size/16, patch_size/16].
    """
    points = affines.grid(affines.patch_size // STRIDE)
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
    grid = _to_grid_sample(points, features.shape[-1], features.shape[-2])
    sampled = F.grid_sample(
        features.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled, valid


def add_noise(images: Tensor, std: float, probability: float, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise with standard deviation `std` to each slice [B, 1, H, W] at random."""
    shape, device = (len(images), 1, 1, 1), images.device
    chosen = torch.rand(shape, generator=generator, device=device) < probability
    return images + std * chosen * torch.randn(images.shape, generator=generator, device=device)


def change_contrast(images: Tensor, gamma: float, generator: torch.Generator) -> Tensor:
    """Raise each slice [B, 1, H, W] to a random power between exp(-gamma) and exp(gamma).

    Negative intensities are set to 0 first.
    """
    shape, device = (len(images), 1, 1, 1), images.device
    draw = 2 * torch.rand(shape, generator=generator, device=device) - 1
    return images.clamp(min=0) ** torch.exp(gamma * draw)


def _to_grid_sample(points: Tensor, width: int, height: int) -> Tensor:
    """Convert pixels to the range [-1, 1] of `grid_sample`."""
    return points * (2 / torch.tensor([width, height], device=points.device)) - 1
