"""Training samples of the compact SAM: prompts on procedural scenes with their object masks.

A point lies in a chain of nested objects, each of which is a correct answer.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from umsam.models.compact_sam import PIXEL_MEAN
from umsam.pretraining.procedural import random_scene

CHAIN = 3
"""Maximum number of nested objects of a point: the decoder has as many outputs."""
NO_CHAIN = [-1] * CHAIN
"""The chain of a point outside all objects."""


def chain_at(labels: np.ndarray, parent: np.ndarray, y: int, x: int) -> list[int]:
    """Indices of the nested objects at a pixel, innermost first, padded with -1 to length CHAIN."""
    index = int(labels[y, x])
    chain: list[int] = []
    while index >= 0 and len(chain) < CHAIN:
        chain.append(index)
        index = int(parent[index])
    return chain + NO_CHAIN[len(chain) :]


def count_quarters(masks: np.ndarray) -> torch.Tensor:
    """Covered pixels in each 2 x 2 block of masks [K, H, W]: uint8 [K, H / 2, W / 2], 0 to 4."""
    k, h, w = masks.shape
    counts = masks.reshape(k, h // 2, 2, w // 2, 2).sum((2, 4), dtype=np.uint8)
    return torch.from_numpy(counts)


@dataclass(frozen=True)
class _Prompt:
    """The two tokens of a prompt and its objects; the fields are as in `make_sample`."""

    coords: list[list[float]]
    labels: list[int]
    chain: list[int]
    object_index: int

    @classmethod
    def point(cls, x: float, y: float, chain: list[int], object_index: int) -> "_Prompt":
        return cls([[x, y], [0, 0]], [1, -1], chain, object_index)


def _pad_at_random(
    rng: np.random.Generator, image: np.ndarray, masks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Imitate the padding by which `Sam.preprocess` makes an image square."""
    size = len(image)
    length = int(size * rng.uniform(0.6, 0.97))
    side = slice(length, None)
    cut = (side, slice(None)) if rng.random() < 0.5 else (slice(None), side)
    image, masks = image.copy(), masks.copy()
    image[cut] = PIXEL_MEAN / 255
    masks[(slice(None), *cut)] = False
    return image, masks


def _box_prompt(rng: np.random.Generator, mask: np.ndarray, index: int) -> _Prompt:
    """The box of a mask [H, W], each side shifted with a standard deviation of 5 % of the box."""
    ys, xs = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    height, width = np.ptp(ys) + 1, np.ptp(xs) + 1
    left, top, right, bottom = rng.normal(0, 0.05, 4) * [width, height, width, height]
    corners = [[xs[0] + left, ys[0] + top], [xs[-1] + 1 + right, ys[-1] + 1 + bottom]]
    return _Prompt(corners, [2, 3], [index, *NO_CHAIN[1:]], index)


def make_sample(
    seed: tuple[int, ...], size: int, points: int, boxes: int, background_points: int, anchors: int
) -> dict[str, torch.Tensor]:
    """A scene with P prompts (points in objects, boxes, background points) and A anchors.

    Coordinates are pixels (x, y) as in the interface of segment_anything. Indices are -1 for none.
    Returns a dictionary:

    image: [size, size] float32 in [0, 1].
    objects: [K, size / 2, size / 2] uint8, object masks by `count_quarters`.
    coords: [P, 2, 2], the tokens of each prompt.
    labels: [P, 2], their kinds in segment_anything's code: 1 point, -1 none, 2 and 3 box corners.
    chain: [P, CHAIN], indices of the nested objects of each prompt.
    object_index: [P], the object in which each prompt was drawn.
    anchor: [A, 2], points in objects.
    anchor_chain: [A, CHAIN], indices of the nested objects of each anchor.
    """
    rng = np.random.default_rng(seed)
    scene = random_scene(int(rng.integers(2**62)), size)
    image, masks = scene.image, scene.masks
    if rng.random() < 0.2:
        image, masks = _pad_at_random(rng, image, masks)
    visible = np.flatnonzero(masks.sum((1, 2)) >= 24)
    labels = np.full((size, size), -1, np.int16)
    for index in visible:
        labels[masks[index]] = index
    background = labels < 0

    def random_pixel(region: np.ndarray) -> tuple[int, int]:
        """y and x of a random pixel of a region [H, W]."""
        flat = np.flatnonzero(region)
        return divmod(int(flat[rng.integers(len(flat))]), size)

    def draw(kind: str) -> _Prompt:
        if kind == "background" and background.any():
            y, x = random_pixel(background)
            return _Prompt.point(x, y, NO_CHAIN, -1)
        if not len(visible):
            return _Prompt.point(size / 2, size / 2, NO_CHAIN, -1)
        index = int(rng.choice(visible))
        if kind == "box":
            return _box_prompt(rng, masks[index], index)
        y, x = random_pixel(masks[index])
        return _Prompt.point(x, y, chain_at(labels, scene.parent, y, x), index)

    kinds = ["point"] * points + ["box"] * boxes + ["background"] * background_points
    prompts = [draw(kind) for kind in kinds]
    places = [
        random_pixel(masks[int(rng.choice(visible))]) if len(visible) else (0, 0)
        for _ in range(anchors)
    ]
    chains = [chain_at(labels, scene.parent, y, x) for y, x in places]
    return {
        "image": torch.from_numpy(np.ascontiguousarray(image)),
        "objects": count_quarters(masks),
        "coords": torch.tensor([p.coords for p in prompts], dtype=torch.float32).view(-1, 2, 2),
        "labels": torch.tensor([p.labels for p in prompts], dtype=torch.long).view(-1, 2),
        "chain": torch.tensor([p.chain for p in prompts], dtype=torch.long).view(-1, CHAIN),
        "object_index": torch.tensor([p.object_index for p in prompts], dtype=torch.long),
        "anchor": torch.tensor([(x, y) for y, x in places], dtype=torch.float32).view(-1, 2),
        "anchor_chain": torch.tensor(chains, dtype=torch.long).view(-1, CHAIN),
    }


def collate(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stack samples of one size; empty masks pad the objects to the largest number."""
    batch = {key: torch.stack([s[key] for s in samples]) for key in samples[0] if key != "objects"}
    most = max(len(s["objects"]) for s in samples)
    batch["objects"] = torch.stack(
        [F.pad(s["objects"], (0, 0, 0, 0, 0, most - len(s["objects"]))) for s in samples]
    )
    return batch
