"""Prompts on procedural scenes, and what their masks should be.

A point lies in a chain of nested objects; each of them is a right answer.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from umsam.pretraining.procedural import random_scene
from umsam.models.compact_sam import PIXEL_MEAN

CHAIN = 3
"""A point has at most this many nested targets: as many as the decoder has outputs."""
NO_CHAIN = [-1] * CHAIN
"""That of a point in no object."""


def chain_at(labels: np.ndarray, parent: np.ndarray, y: int, x: int) -> list[int]:
    """Indices of the nested objects at a pixel, innermost first, padded with -1 to CHAIN."""
    index, chain = int(labels[y, x]), []
    while index >= 0 and len(chain) < CHAIN:
        chain.append(index)
        index = int(parent[index])
    return chain + NO_CHAIN[len(chain) :]


def quarters(masks: np.ndarray) -> torch.Tensor:
    """bool [K, H, W] to uint8 [K, H / 2, W / 2]: how many of the four pixels are covered."""
    k, h, w = masks.shape
    counts = masks.reshape(k, h // 2, 2, w // 2, 2).sum((2, 4), dtype=np.uint8)
    return torch.from_numpy(counts)


@dataclass(frozen=True)
class _Prompt:
    """Coordinates (x, y) of a prompt's two tokens, their kinds, and what it asks for.

    `chain` and `wanted` as in `make_sample`.
    """

    coords: list[list[float]]
    labels: list[int]
    chain: list[int]
    wanted: int

    @classmethod
    def point(cls, x: float, y: float, chain: list[int], wanted: int) -> "_Prompt":
        return cls([[x, y], [0, 0]], [1, -1], chain, wanted)


def _padded(
    rng: np.random.Generator, image: np.ndarray, masks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What `Sam.preprocess` would make of an image that is not square: grey at one side."""
    size = len(image)
    length = int(size * rng.uniform(0.6, 0.97))
    side = slice(length, None)
    cut = (side, slice(None)) if rng.random() < 0.5 else (slice(None), side)
    image, masks = image.copy(), masks.copy()
    image[cut] = PIXEL_MEAN / 255
    masks[(slice(None), *cut)] = False
    return image, masks


def _box(rng: np.random.Generator, mask: np.ndarray, index: int) -> _Prompt:
    """The box around a mask [H, W], each side moved by some 5 % of the box."""
    ys, xs = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    height, width = np.ptp(ys) + 1, np.ptp(xs) + 1
    left, top, right, bottom = rng.normal(0, 0.05, 4) * [width, height, width, height]
    corners = [[xs[0] + left, ys[0] + top], [xs[-1] + 1 + right, ys[-1] + 1 + bottom]]
    return _Prompt(corners, [2, 3], [index, *NO_CHAIN[1:]], index)


def make_sample(
    seed: tuple[int, ...], size: int, points: int, boxes: int, nothings: int, anchors: int
) -> dict[str, torch.Tensor]:
    """One scene with its prompts.

    Returns image [size, size] float32 in [0, 1]; targets [K, size / 2, size / 2] uint8, quarters of
    a pixel covered; coords [P, 2, 2] (x, y) and labels [P, 2] of the prompt tokens in
    segment_anything's code (1 point, -1 none, 2 and 3 box corners); chain [P, CHAIN] and
    anchor_chain [A, CHAIN] target indices, -1 for none; wanted [P] the object a prompt was drawn
    for; anchor [A, 2] (x, y). Coordinates are pixels, as a user of segment_anything would give.
    """
    rng = np.random.default_rng(seed)
    scene = random_scene(int(rng.integers(2**62)), size)
    image, masks = scene.image, scene.masks
    if rng.random() < 0.2:
        image, masks = _padded(rng, image, masks)
    visible = np.flatnonzero(masks.sum((1, 2)) >= 24)
    labels = np.full((size, size), -1, np.int16)
    for index in visible:
        labels[masks[index]] = index
    nowhere = labels < 0

    def somewhere(region: np.ndarray) -> tuple[int, int]:
        """y and x of a random pixel of a region [H, W]."""
        flat = np.flatnonzero(region)
        return divmod(int(flat[rng.integers(len(flat))]), size)

    def draw(kind: str) -> _Prompt:
        if kind == "nothing" and nowhere.any():
            y, x = somewhere(nowhere)
            return _Prompt.point(x, y, NO_CHAIN, -1)
        if not len(visible):
            return _Prompt.point(size / 2, size / 2, NO_CHAIN, -1)
        index = int(rng.choice(visible))
        if kind == "box":
            return _box(rng, masks[index], index)
        y, x = somewhere(masks[index])
        return _Prompt.point(x, y, chain_at(labels, scene.parent, y, x), index)

    prompts = [draw(k) for k in ["point"] * points + ["box"] * boxes + ["nothing"] * nothings]
    places = [
        somewhere(masks[int(rng.choice(visible))]) if len(visible) else (0, 0)
        for _ in range(anchors)
    ]
    chains = [chain_at(labels, scene.parent, y, x) for y, x in places]
    return {
        "image": torch.from_numpy(np.ascontiguousarray(image)),
        "targets": quarters(masks),
        "coords": torch.tensor([p.coords for p in prompts], dtype=torch.float32).view(-1, 2, 2),
        "labels": torch.tensor([p.labels for p in prompts], dtype=torch.long).view(-1, 2),
        "chain": torch.tensor([p.chain for p in prompts], dtype=torch.long).view(-1, CHAIN),
        "wanted": torch.tensor([p.wanted for p in prompts], dtype=torch.long),
        "anchor": torch.tensor([(x, y) for y, x in places], dtype=torch.float32).view(-1, 2),
        "anchor_chain": torch.tensor(chains, dtype=torch.long).view(-1, CHAIN),
    }


def collate(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stacks samples of one size; targets are padded with empty masks to the largest number."""
    batch = {key: torch.stack([s[key] for s in samples]) for key in samples[0] if key != "targets"}
    most = max(len(s["targets"]) for s in samples)
    batch["targets"] = torch.stack(
        [F.pad(s["targets"], (0, 0, 0, 0, 0, most - len(s["targets"]))) for s in samples]
    )
    return batch
