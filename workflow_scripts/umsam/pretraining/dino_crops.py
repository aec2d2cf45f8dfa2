"""Multi-crop for slices: where crops lie, how their grey values differ, which regions they show.

All randomness comes from the generator passed in, so a step is reproducible by its seed.
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
    """Crops of one size: `images` [N, 3, S, S] normalised; `coverage` [N, R, (S/8)^2] in [0, 1].

    `coverage` is the share of each patch that region r takes; N runs over crops, then images.
    """

    images: Tensor
    coverage: Tensor

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
    transplant: float,
    generator: Generator,
) -> Crops:
    """`count` random crops of `size` px of each image.

    images: [B, V, H, W] in [0, 1], V renders of one content; crops take them in turn.
    labels: int [B, V, H, W], region number or NO_REGION.
    zoom: lower and upper bound of source pixels per crop pixel, log-uniform.
    transplant: share of the crops whose regions are put into another image, see `transplanted`.
    """
    batch, renders = images.shape[:2]
    images = torch.cat([images[:, crop % renders] for crop in range(count)])
    labels = torch.cat([labels[:, crop % renders] for crop in range(count)])
    theta = random_affines(len(images), size, images.shape[-2:], zoom, generator)
    grid = F.affine_grid(theta, [len(images), 1, size, size], align_corners=False)
    crops = F.grid_sample(images[:, None].float(), grid, align_corners=False)[:, 0]
    numbers = labels[:, None].float() + 1  # outside of the image a crop has number 0: no region
    numbers = F.grid_sample(numbers, grid, mode="nearest", align_corners=False)
    crops, numbers = transplanted(crops, numbers[:, 0], batch, regions, transplant, generator)
    one_hot = numbers[:, None] == torch.arange(1, regions + 1)[None, :, None, None]
    coverage = F.avg_pool2d(one_hot.float(), patch).flatten(2)
    return Crops(to_model_input(augment_intensity(crops, generator)), coverage)


def transplanted(
    crops: Tensor, numbers: Tensor, batch: int, regions: int, share: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """In a share of the crops, some regions stay and the rest becomes a crop of another image.

    Two crops of an image then agree about a region although little around it is the same. Without
    this the quickest way to tell regions apart is to tell their images apart, which is of no use
    for clustering the ROIs of many patients.

    crops: [N, S, S]; numbers: [N, S, S], region number plus 1, 0 for no region; N runs over crops,
    then the images of the batch. Returns both; the other image's regions get number 0.
    """
    kept = torch.rand(len(crops), regions + 1, generator=generator) < 0.6
    kept[:, 0] = False
    kept |= torch.rand(len(crops), 1, generator=generator) >= share
    stays = kept.gather(1, numbers.flatten(1).long()).view_as(crops)
    views = crops.unflatten(0, (-1, batch))
    others = torch.cat([view.roll(1 + index, 0) for index, view in enumerate(views)])
    return torch.where(stays, crops, others), torch.where(stays, numbers, 0)


def random_affines(
    count: int,
    size: int,
    shape: tuple[int, int],
    zoom: tuple[float, float],
    generator: Generator,
) -> Tensor:
    """[N, 2, 3] maps of crop to image coordinates (`affine_grid`'s): zoom, any turn, flip, place.

    The crop's centre is placed so that an unturned crop lies inside the image where it fits.
    """
    height, width = shape
    log_zoom = uniform(count, math.log(zoom[0]), math.log(zoom[1]), generator)
    span = log_zoom.exp() * size  # source pixels along a side of the crop
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
    """What differs between scanners, not between tissues: [N, S, S] in [0, 1], each on its own.

    Coil falloff, gain, offset and gamma always; noise for half of the crops, blur for three in
    ten, contrast inversion for one in twenty.
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
    """[N, S, S] in [0, 1] to RGB with ImageNet's mean and standard deviation, [N, 3, S, S]."""
    mean = torch.tensor(IMAGENET_MEAN)[:, None, None]
    sd = torch.tensor(IMAGENET_STD)[:, None, None]
    return (crops[:, None] - mean) / sd


def pool_regions(patches: Tensor, coverage: Tensor) -> Tensor:
    """Mean of patch features [N, P, D] weighted by coverage [N, R, P]: [N, R, D] (eq. 4)."""
    weight = coverage / coverage.sum(-1, keepdim=True).clamp(min=1e-6)
    return weight @ patches


def uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _blur(crops: Tensor, sd: Tensor) -> Tensor:
    """Separable Gaussian blur of each crop with its own standard deviation in px."""
    offsets = torch.arange(-3, 4, dtype=torch.float32)
    kernel = torch.exp(-(offsets[None] ** 2) / (2 * sd[:, None] ** 2))
    kernel = kernel / kernel.sum(1, keepdim=True)
    count = len(crops)
    padded = F.pad(crops[None], (3, 3, 3, 3), mode="replicate")
    rows = F.conv2d(padded, kernel[:, None, None, :], groups=count)
    return F.conv2d(rows, kernel[:, None, :, None], groups=count)[0]
