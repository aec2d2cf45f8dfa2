"""K-means with memory that does not grow with the number of ROIs.

Each pass reads the features volume by volume. Ordinary K-means clusters a seeded sample of them,
and Lloyd's iterations over all features start from there. Unlike mini-batches these iterations are
exact: each pass lowers the sum of squared errors of all ROIs, and the result depends neither on a
learning rate nor on the order of the ROIs.
"""

import logging
import sys

import numpy as np
from numpy.typing import NDArray

from umsam.pseudo_labels.assignments import assign
from umsam.pseudo_labels.clustering import Clusters, fit
from umsam.pseudo_labels.feature_space import Batches

Features = NDArray[np.float64]

log = logging.getLogger(__name__)

TOLERANCE = 1e-4  # scikit-learn's: squared shift of the centroids / mean variance of the features
LARGEST_PASSES = 20


def sample(batches: Batches, size: int, seed: int) -> tuple[Features, int]:
    """At most `size` rows drawn without replacement, in their order, and the number of all rows.

    Each row gets a random key, and the rows with the smallest keys are kept, so that every subset
    is equally likely and memory holds few more than `size` rows.
    """
    rng = np.random.default_rng(seed)
    rows: list[Features] = []
    keys: list[NDArray[np.float64]] = []
    count, held, limit = 0, 0, np.inf
    for batch in batches():
        key = rng.random(len(batch))
        below = key < limit
        rows.append(batch[below])
        keys.append(key[below])
        count, held = count + len(batch), held + int(np.count_nonzero(below))
        if held > 2 * size:
            rows, keys, limit = _smallest(rows, keys, size)
            held = size
    if held > size:
        rows, keys, _ = _smallest(rows, keys, size)
    return (np.concatenate(rows) if count else np.zeros((0, 0))), count


def _smallest(
    rows: list[Features], keys: list[NDArray[np.float64]], size: int
) -> tuple[list[Features], list[NDArray[np.float64]], float]:
    """The `size` rows of the smallest keys, in their order; the largest of those keys."""
    together = np.concatenate(keys)
    chosen = np.sort(np.argpartition(together, size - 1)[:size])
    kept = together[chosen]
    return [np.concatenate(rows)[chosen]], [kept], float(kept.max())


def lloyd(batches: Batches, start: Features, tolerance: float, passes: int) -> Clusters:
    """Lloyd's iterations from the centroids `start` [K, D], each one pass over the batches.

    They end when the squared shift of the centroids is at most `tolerance`, or after `passes`. A
    centroid without features stays where it is.
    """
    centroids = start
    for done in range(1, passes + 1):
        sums, counts = np.zeros_like(centroids), np.zeros(len(centroids))
        for batch in batches():
            labels, _ = assign(batch, centroids)
            sums += np.eye(len(centroids))[labels].T @ batch
            counts += np.bincount(labels, minlength=len(centroids))
        moved = np.where(counts[:, None] > 0, sums / counts.clip(1)[:, None], centroids)
        shift = float(((moved - centroids) ** 2).sum())
        centroids = moved
        log.info("pass %d: centroids moved by %.3g (squared)", done, shift)
        if shift <= tolerance:
            break
    inertia = sum((float((assign(batch, centroids)[1] ** 2).sum()) for batch in batches()), 0.0)
    return Clusters(centroids, inertia)


def fit_streamed(
    batches: Batches, k: int, n_init: int, seed: int, max_rois: int | None
) -> Clusters:
    """K-means over all batches: in memory, or streamed if there are more than `max_rois` features.

    Memory holds at most twice `max_rois` features; None: all of them.

    Raises
    ------
    ValueError
        There is no feature.
    """
    drawn, count = sample(batches, max_rois or sys.maxsize, seed)
    start = fit(drawn, k, n_init, seed)
    if count == len(drawn):
        return start
    log.info("K-means over all %d ROIs starts from a fit to %d of them", count, len(drawn))
    tolerance = TOLERANCE * float(drawn.var(axis=0).mean())
    return lloyd(batches, start.centroids, tolerance, LARGEST_PASSES)
