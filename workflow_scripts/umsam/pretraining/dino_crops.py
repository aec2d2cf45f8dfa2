"""Random crops of images and their regions (DINO's multi-crop), with intensity augmentation.

All random numbers come from the generator passed in, so a seed reproduces a step.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from umsam.data.intensity import IMAGENET_MEAN, IMAGENET_STD

NO_REGION = -1


@dataclass(frozen=True)
class Crops:
    """Crops of one size. The first axis runs over the crops of an image, then over the images."""

    images: Tensor
    """[N, 3, S, S], normalised."""
    coverage: Tensor
    """[N, R, (S / 8)^2]: the share of each patch that a region covers."""

    def to(self, device: str) -> "Crops":
        """The same crops on another device."""
        return Crops(self.images.to(device), self.coverage.to(device))


def multi_crop(
    images: Tensor,
    labels: Tensor,
    size: int,
    count: int,
    regions: int,
    zoom: tuple[float, float],
    patch: int,
    transplant_share: float,
    generator: Generator,
) -> Crops:
    """`count` random crops of `size` px of each image.

    images: [B, V, H, W] in [0, 1]: V renders of the same regions, cropped in turn.
    labels: int [B, V, H, W]: region number or NO_REGION.
    regions: the number of regions, R.
    zoom: range of image pixels per crop pixel; the zoom is log-uniform.
    patch: side of a patch in pixels.
    transplant_share: share of the crops whose regions move to another image, see
        `transplant_regions`.
    """
    batch, renders = images.shape[:2]
    images = torch.cat([images[:, crop % renders] for crop in range(count)])
    labels = torch.cat([labels[:, crop % renders] for crop in range(count)])
    height, width = images.shape[-2:]
    theta = random_affines(len(images), size, (height, width), zoom, generator)
    grid = F.affine_grid(theta, [len(images), 1, size, size], align_corners=False)
    crops = F.grid_sample(images[:, None].float(), grid, align_corners=False)[:, 0]
    numbers = labels[:, None].float() + 1  # 0 is no region; grid_sample pads with 0
    numbers = F.grid_sample(numbers, grid, mode="nearest", align_corners=False)
    crops, numbers = transplant_regions(
        crops, numbers[:, 0], batch, regions, transplant_share, generator
    )
    one_hot = numbers[:, None] == torch.arange(1, regions + 1)[None, :, None, None]
    coverage = F.avg_pool2d(one_hot.float(), patch).flatten(2)
    return Crops(to_model_input(augment_intensity(crops, generator)), coverage)


def transplant_regions(
    crops: Tensor, numbers: Tensor, batch: int, regions: int, share: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """In a share of the crops, keep some regions and replace the rest by a crop of another image.

    Two crops of an image then show the same region in different surroundings. Without this, the
    easiest way to distinguish regions is to distinguish their images, which does not help to
    cluster the ROIs of many patients.

    crops: [N, S, S], N as in `Crops`.
    numbers: [N, S, S], region number plus 1, 0 for no region.
    batch: the number of images.
    Returns both; the regions of the other image get number 0.
    """
    keep = torch.rand(len(crops), regions + 1, generator=generator) < 0.6
    keep[:, 0] = False
    keep |= torch.rand(len(crops), 1, generator=generator) >= share
    keep_pixel = keep.gather(1, numbers.flatten(1).long()).view_as(crops)
    views = crops.unflatten(0, (-1, batch))
    others = torch.cat([view.roll(1 + index, 0) for index, view in enumerate(views)])
    return torch.where(keep_pixel, crops, others), torch.where(keep_pixel, numbers, 0)


def random_affines(
    count: int,
    size: int,
    shape: tuple[int, int],
    zoom: tuple[float, float],
    generator: Generator,
) -> Tensor:
    """Random zoom, rotation, flip and translation, [N, 2, 3], in the form of `F.affine_grid`.

    They map crop to image coordinates. Before rotation, a crop that fits lies inside the image.

    size: side of the crops in pixels.
    shape: (H, W) of the image.
    """
    height, width = shape
    log_zoom = uniform(count, math.log(zoom[0]), math.log(zoom[1]), generator)
    span = log_zoom.exp() * size  # image pixels along a side of the crop
    angle = uniform(count, -math.pi, math.pi, generator)
    flip = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    scale_x, scale_y = span / width, span / height
    shift_x = (1 - scale_x).clamp(min=0) * uniform(count, -1, 1, generator)
    shift_y = (1 - scale_y).clamp(min=0) * uniform(count, -1, 1, generator)
    rows = [
        torch.stack([scale_x * cos * flip, -scale_x * sin, shift_x], 1),
        torch.stack([scale_y * sin * flip, scale_y * cos, shift_y], 1),
    ]
    return torch.stack(rows, 1)


def augment_intensity(crops: Tensor, generator: Generator) -> Tensor:
    """Vary what depends on the scanner and not on the tissue; crops [N, S, S] in [0, 1].

    Each crop gets its own coil falloff, gain, offset and gamma; 50 % get noise, 30 % blur and 5 %
    an inverted contrast.
    """
    count, size, _ = crops.shape

    def draw(low: float, high: float) -> Tensor:
        return uniform(count, low, high, generator)[:, None, None]

    def chance(p: float) -> Tensor:
        return (torch.rand(count, generator=generator) < p)[:, None, None]

    field = torch.randn(count, 1, 3, 3, generator=generator) * 0.15
    field = F.interpolate(field, (size, size), mode="bicubic", align_corners=True)[:, 0].exp()
    crops = (crops * field).clamp(0, 1)
    crops = torch.where(chance(0.05), 1 - crops, crops)
    crops = (crops + 1e-4) ** (draw(-0.4, 0.4).exp())
    crops = crops * draw(0.7, 1.2) + draw(-0.05, 0.1)
    crops = torch.where(chance(0.3), _blur(crops, draw(0.3, 0.8)[:, 0, 0]), crops)
    noise = torch.randn(crops.shape, generator=generator) * draw(0.0, 0.04)
    crops = crops + noise * chance(0.5)
    return crops.clamp(0, 1)


def to_model_input(crops: Tensor) -> Tensor:
    """Grey values [N, S, S] in [0, 1] as RGB [N, 3, S, S], normalised with ImageNet statistics."""
    mean = torch.tensor(IMAGENET_MEAN)[:, None, None]
    std = torch.tensor(IMAGENET_STD)[:, None, None]
    return (crops[:, None] - mean) / std


def pool_regions(patches: Tensor, coverage: Tensor) -> Tensor:
    """Mean of patch features [N, P, D] weighted by coverage [N, R, P]: [N, R, D] (eq. 4)."""
    weight = coverage / coverage.sum(-1, keepdim=True).clamp(min=1e-6)
    return weight @ patches


def uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    """[count] uniform random numbers."""
    return low + (high - low) * torch.rand(count, generator=generator)


def _blur(crops: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of each crop with its own standard deviation in pixels."""
    offsets = torch.arange(-3, 4, dtype=torch.float32)
    kernel = torch.exp(-(offsets[None] ** 2) / (2 * sigma[:, None] ** 2))
    kernel = kernel / kernel.sum(1, keepdim=True)
    count = len(crops)
    padded = F.pad(crops[None], (3, 3, 3, 3), mode="replicate")
    rows = F.conv2d(padded, kernel[:, None, None, :], groups=count)
    return F.conv2d(rows, kernel[:, None, :, None], groups=count)[0]
