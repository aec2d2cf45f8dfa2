"""K-means segmentation of one volume, by intensity or by DINO features (two rows of Table 1).

The clusters of a volume have no names, so the paper takes the one that overlaps most with the
ground truth. Raw overlap would favour a cluster that covers everything; here it is the cluster with
the best DSC over the volume. Either way the label is used: the rows are upper bounds.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

LARGEST_FIT = 200_000  # samples; more change the centroids by less than the seed does


def cluster(
    features: NDArray[np.floating],
    k: int,
    n_init: int,
    seed: int,
    largest_fit: int = LARGEST_FIT,
) -> NDArray[np.int32]:
    """Cluster index 0..k-1 of each of the features [N, D].

    K-means is fitted on all of them, or on a seeded sample of `largest_fit`; all are assigned. On
    one thread: others wait for each other thousands of times, minutes on a busy machine.

    Raises
    ------
    ValueError
        There are fewer samples than clusters.
    """
    if len(features) < k:
        raise ValueError(f"{len(features)} samples for {k} clusters")
    sample = features
    if len(features) > largest_fit:
        chosen = np.random.default_rng(seed).choice(len(features), largest_fit, replace=False)
        sample = features[chosen]
    with threadpool_limits(1):
        fitted = KMeans(n_clusters=k, n_init=n_init, random_state=seed).fit(sample)
        return fitted.labels_ if sample is features else fitted.predict(features)


def cluster_intensity(
    volume: NDArray[np.floating], k: int, n_init: int, seed: int
) -> NDArray[np.int32]:
    """Cluster index of each voxel of a volume [Z, Y, X] by its intensity alone."""
    return cluster(volume.reshape(-1, 1), k, n_init, seed).reshape(volume.shape)


def cluster_feature_maps(
    maps: Sequence[NDArray[np.floating]] | NDArray[np.floating],
    shape: tuple[int, int, int],
    k: int,
    n_init: int,
    seed: int,
) -> NDArray[np.int32]:
    """Cluster index of each voxel by the feature of the patch that it lies in.

    The clustering is of the patches of the whole volume; each pixel takes its patch's cluster
    (nearest, no interpolation: a mean of two features can fall in a third cluster).

    Parameters
    ----------
    maps
        [Z, D, h, w]: feature maps that cover the slices edge to edge.
    shape
        Of the volume, (Z, Y, X).
    """
    stacked = np.asarray(maps)
    depth, dimension, height, width = stacked.shape
    patches = np.moveaxis(stacked, 1, -1).reshape(-1, dimension)
    indices = cluster(patches, k, n_init, seed).reshape(depth, height, width)
    rows = ((np.arange(shape[1]) + 0.5) * height / shape[1]).astype(int)
    columns = ((np.arange(shape[2]) + 0.5) * width / shape[2]).astype(int)
    return indices[:, rows[:, None], columns]


def best_cluster(clusters: NDArray[np.integer], label: NDArray[np.bool_], k: int) -> int:
    """The cluster with the best DSC with the label over the volume; the first among equals."""
    size = np.bincount(clusters.ravel(), minlength=k)
    overlap = np.bincount(clusters[label], minlength=k)
    return int(np.argmax(2 * overlap / (size + np.count_nonzero(label)).clip(1)))
