"""Masks of a slice with random content."""

import numpy as np

from umsam.data.masks import SliceMasks

FIELDS = ("masks", "predicted_iou", "stability_score", "box", "point")


def random_masks(k, height, width, seed=0):
    rng = np.random.default_rng(seed)
    return SliceMasks(
        masks=rng.random((k, height, width)) < 0.4,
        predicted_iou=rng.random(k, np.float32),
        stability_score=rng.random(k, np.float32),
        box=rng.integers(0, 99, (k, 4), np.int32),
        point=rng.random((k, 2), np.float32),
    )
