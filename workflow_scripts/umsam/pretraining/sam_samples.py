"""Prompts on procedural scenes, and what their masks should be.

A point lies in a chain of nested objects; each of them is a right answer.
"""

import numpy as np
import torch
from torch.nn import functional as F

from umsam.pretraining.procedural import random_scene
from umsam.pseudo_labels.compact_sam import PIXEL_MEAN

CHAIN = 3
"""A point has at most this many nested targets: as many as the decoder has outputs."""


def chain_at(labels: np.ndarray, parent: np.ndarray, y: int, x: int) -> list[int]:
    """Indices of the nested objects at a pixel, innermost first, padded with -1 to CHAIN."""
    index, chain = int(labels[y, x]), []
    while index >= 0 and len(chain) < CHAIN:
        chain.append(index)
        index = int(parent[index])
    return chain + [-1] * (CHAIN - len(chain))


def quarters(masks: np.ndarray) -> torch.Tensor:
    """bool [K, H, W] to uint8 [K, H / 2, W / 2]: how many of the four pixels are covered."""
    k, h, w = masks.shape
    counts = masks.reshape(k, h // 2, 2, w // 2, 2).sum((2, 4), dtype=np.uint8)
    return torch.from_numpy(counts)


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
    if rng.random() < 0.2:  # what Sam.preprocess makes of an image that is not square
        length = int(size * rng.uniform(0.6, 0.97))
        cut = (
            (slice(length, None), slice(None))
            if rng.random() < 0.5
            else (slice(None), slice(length, None))
        )
        image, masks = image.copy(), masks.copy()
        image[cut] = PIXEL_MEAN / 255
        masks[(slice(None), *cut)] = False
    visible = np.flatnonzero(masks.sum((1, 2)) >= 24)
    labels = np.full((size, size), -1, np.int16)
    for index in visible:
        labels[masks[index]] = index

    def inside(index: int) -> tuple[int, int]:
        flat = np.flatnonzero(masks[index])
        return divmod(int(flat[rng.integers(len(flat))]), size)

    nowhere = np.flatnonzero(labels < 0)
    coords, tokens, chains, wanted = [], [], [], []
    for kind in ["point"] * points + ["box"] * boxes + ["nothing"] * nothings:
        if kind == "nothing" and len(nowhere):
            y, x = divmod(int(nowhere[rng.integers(len(nowhere))]), size)
            coords.append([[x, y], [0, 0]])
            tokens.append([1, -1])
            chains.append([-1] * CHAIN)
            wanted.append(-1)
            continue
        if not len(visible):
            coords.append([[size / 2, size / 2], [0, 0]])
            tokens.append([1, -1])
            chains.append([-1] * CHAIN)
            wanted.append(-1)
            continue
        index = int(rng.choice(visible))
        wanted.append(index)
        if kind == "box":
            ys, xs = np.nonzero(masks[index].any(1))[0], np.nonzero(masks[index].any(0))[0]
            height, width = np.ptp(ys) + 1, np.ptp(xs) + 1
            jitter = rng.normal(0, 0.05, 4) * [width, height, width, height]
            coords.append(
                [
                    [xs[0] + jitter[0], ys[0] + jitter[1]],
                    [xs[-1] + 1 + jitter[2], ys[-1] + 1 + jitter[3]],
                ]
            )
            tokens.append([2, 3])
            chains.append([index] + [-1] * (CHAIN - 1))
        else:
            y, x = inside(index)
            coords.append([[x, y], [0, 0]])
            tokens.append([1, -1])
            chains.append(chain_at(labels, scene.parent, y, x))
    anchor, anchor_chain = [], []
    for _ in range(anchors):
        y, x = inside(int(rng.choice(visible))) if len(visible) else (0, 0)
        anchor.append([x, y])
        anchor_chain.append(chain_at(labels, scene.parent, y, x))
    return {
        "image": torch.from_numpy(np.ascontiguousarray(image)),
        "targets": quarters(masks),
        "coords": torch.tensor(coords, dtype=torch.float32).reshape(-1, 2, 2),
        "labels": torch.tensor(tokens, dtype=torch.long).reshape(-1, 2),
        "chain": torch.tensor(chains, dtype=torch.long).reshape(-1, CHAIN),
        "wanted": torch.tensor(wanted, dtype=torch.long),
        "anchor": torch.tensor(anchor, dtype=torch.float32).reshape(-1, 2),
        "anchor_chain": torch.tensor(anchor_chain, dtype=torch.long).reshape(-1, CHAIN),
    }


def collate(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stacks samples of one size; targets are padded with empty masks to the largest number."""
    batch = {key: torch.stack([s[key] for s in samples]) for key in samples[0] if key != "targets"}
    most = max(len(s["targets"]) for s in samples)
    batch["targets"] = torch.stack(
        [F.pad(s["targets"], (0, 0, 0, 0, 0, most - len(s["targets"]))) for s in samples]
    )
    return batch
