"""How well ROI features distinguish tissues: the figure of merit of the compact DINO.

Blobs of eight tissues with fixed recipes of brightness and texture, some of which differ in only
one of the two, lie in images of random contrast. Good features of one tissue are similar in all
images. No model is trained on these tissues and images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from sklearn.cluster import KMeans
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from umsam.models.compact_dino import PATCH
from umsam.pretraining.dino_crops import pool_regions, to_model_input
from umsam.pretraining.random_fields import smooth_noise

Texture = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Tissue:
    """A tissue: mean grey value, standard deviation of its texture, and the texture itself."""

    mean: float
    std: float
    texture: Texture


@dataclass(frozen=True)
class TissueImage:
    """An image with ROIs of known tissue."""

    image: np.ndarray
    """[H, W] in [0, 1]."""
    masks: np.ndarray
    """bool [R, H, W]."""
    tissue: np.ndarray
    """[R]: index of each mask's tissue."""


def _speckle(cells: int) -> Texture:
    return lambda rng, size: smooth_noise(rng, size, cells, cells)


def _folds(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.sqrt(2) * np.sin(3.0 * smooth_noise(rng, size, 10, 10))


def _spots(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.clip(3 * (smooth_noise(rng, size, 30, 30) - 0.9), -0.3, 2.5)


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    angle = rng.uniform(0, np.pi)
    axis = np.arange(size, dtype=np.float32)
    ramp = np.cos(angle) * axis[:, None] + np.sin(angle) * axis[None]
    return np.sqrt(2) * np.sin(2 * np.pi * ramp / 8)


TISSUES = (
    Tissue(0.45, 0.01, _speckle(8)),
    Tissue(0.45, 0.10, _speckle(24)),
    Tissue(0.45, 0.10, _speckle(80)),
    Tissue(0.45, 0.10, _folds),
    Tissue(0.70, 0.10, _folds),
    Tissue(0.70, 0.10, _spots),
    Tissue(0.70, 0.10, _stripes),
    Tissue(0.70, 0.01, _speckle(8)),
)


def tissue_images(count: int, seed: int, size: int = 224, blobs: int = 5) -> list[TissueImage]:
    """Images with blobs of random tissues on a smooth background, each with its own contrast."""
    return [_tissue_image(np.random.default_rng((seed, i)), size, blobs) for i in range(count)]


def _tissue_image(rng: np.random.Generator, size: int, blobs: int) -> TissueImage:
    y, x = np.mgrid[:size, :size].astype(np.float32)
    image = np.full((size, size), rng.uniform(0.1, 0.9), np.float32)
    image += 0.05 * smooth_noise(rng, size, 4, 4)
    owner = np.full((size, size), -1)
    tissues = rng.integers(len(TISSUES), size=blobs)
    for index, tissue in enumerate(tissues):
        radius = size * rng.uniform(0.07, 0.16)
        centre_y, centre_x = rng.uniform(radius, size - radius, 2)
        stretch = np.exp(rng.normal(0, 0.25))
        distance = np.hypot((y - centre_y) * stretch, (x - centre_x) / stretch) / radius
        inside = distance + 0.1 * smooth_noise(rng, size, 10, 10) < 1
        recipe = TISSUES[tissue]
        owner[inside] = index
        image[inside] = recipe.mean + recipe.std * recipe.texture(rng, size)[inside]
    image = ndimage.gaussian_filter(image, rng.uniform(0.4, 0.9))
    image *= np.exp(rng.uniform(0, 0.2) * smooth_noise(rng, size, 2, 2))
    image = np.clip(image, 0, None) ** np.exp(rng.uniform(-0.3, 0.3))
    image = image * rng.uniform(0.75, 1.1) + rng.uniform(-0.05, 0.1)
    image += rng.uniform(0, 0.04) * rng.standard_normal(image.shape)
    masks = np.stack([owner == index for index in range(blobs)])
    large = masks.sum((1, 2)) > 6 * PATCH**2
    return TissueImage(np.clip(image, 0, 1), masks[large], tissues[large])


@torch.no_grad()
def patch_features(backbone: VisionTransformer, images: list[TissueImage]) -> np.ndarray:
    """[ROIs, D]: mean over the mask of a ViT's normed patch tokens (eq. 4)."""
    device = next(backbone.parameters()).device
    features = []
    for item in images:
        inputs = to_model_input(torch.from_numpy(item.image)[None].float())
        tokens = backbone.forward_features(inputs.to(device))[:, 1:].cpu()
        masks = torch.from_numpy(item.masks)[None].float()
        coverage = nn.functional.avg_pool2d(masks, PATCH).flatten(2)
        features.append(pool_regions(tokens, coverage)[0].numpy())
    return np.concatenate(features)


def retrieval_accuracy(features: np.ndarray, tissue: np.ndarray, image: np.ndarray) -> float:
    """Share of ROIs whose nearest neighbour among the *other* images has the same tissue."""
    squares = (features**2).sum(1)
    distance = squares[:, None] + squares[None] - 2 * features @ features.T
    distance[image[:, None] == image[None]] = np.inf
    return float((tissue[distance.argmin(1)] == tissue).mean())


def cluster_purity(features: np.ndarray, tissue: np.ndarray, k: int = 8, seed: int = 0) -> float:
    """Share of ROIs whose tissue is the most common one of their K-means cluster."""
    cluster = KMeans(k, n_init=10, random_state=seed).fit_predict(features)
    matches = sum(np.bincount(tissue[cluster == c]).max() for c in np.unique(cluster))
    return float(matches / len(tissue))


def tissue_scores(features: np.ndarray, images: list[TissueImage]) -> dict[str, float]:
    """Retrieval accuracy and purity, given the features of all ROIs in the order of the images."""
    tissue = np.concatenate([item.tissue for item in images])
    number = np.concatenate([np.full(len(item.tissue), n) for n, item in enumerate(images)])
    return {
        "retrieval": retrieval_accuracy(features, tissue, number),
        "purity": cluster_purity(features, tissue),
    }


def tissue_monitor(
    count: int = 40, seed: int = 1
) -> Callable[[VisionTransformer], dict[str, float]]:
    """A function that scores a backbone on a fixed set of tissue images."""
    images = tissue_images(count, seed)
    return lambda backbone: tissue_scores(patch_features(backbone, images), images)
