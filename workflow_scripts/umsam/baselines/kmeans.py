"""K-means segmentation of one volume, by intensity or by DINO features (two rows of Table 1).

The paper selects the cluster that overlaps most with the ground truth. Overlap alone favours
clusters that cover everything, so this implementation selects the cluster with the best DSC. Both
use the label of the test case, so the rows are upper bounds.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

LARGEST_FIT = 200_000  # samples; more change the centroids less than the seed does


def cluster(
    features: NDArray[np.floating],
    k: int,
    n_init: int,
    seed: int,
    largest_fit: int = LARGEST_FIT,
) -> NDArray[np.int32]:
    """Cluster index, 0 to k - 1, of each of the features [N, D].

    K-means is fitted to all features or to a random sample of `largest_fit`, on one thread: several
    threads synchronise thousands of times, which takes minutes on a busy machine.

    Raises
    ------
    ValueError
        There are fewer features than clusters.
    """
    if len(features) < k:
        raise ValueError(
            f"K-means needs at least {k} samples for {k} clusters, not {len(features)}"
        )
    sample = features
    if len(features) > largest_fit:
        rows = np.random.default_rng(seed).choice(len(features), largest_fit, replace=False)
        sample = features[rows]
    with threadpool_limits(1):
        kmeans = KMeans(n_clusters=k, n_init=n_init, random_state=seed).fit(sample)
        return kmeans.labels_ if sample is features else kmeans.predict(features)


def cluster_intensity(
    volume: NDArray[np.floating], k: int, n_init: int, seed: int
) -> NDArray[np.int32]:
    """Cluster index of each voxel of a volume [Z, Y, X] by its intensity."""
    return cluster(volume.reshape(-1, 1), k, n_init, seed).reshape(volume.shape)


def cluster_feature_maps(
    maps: Sequence[NDArray[np.floating]] | NDArray[np.floating],
    shape: tuple[int, int, int],
    k: int,
    n_init: int,
    seed: int,
) -> NDArray[np.int32]:
    """Cluster index [Z, Y, X] of each voxel by the feature of its patch.

    Features are not interpolated to pixels, because the mean of two features can lie in a third
    cluster.

    Parameters
    ----------
    maps
        [Z, D, h, w]: feature maps that cover the whole slices.
    shape
        (Z, Y, X) of the volume.
    k, n_init, seed
        As in `cluster`.
    """
    stacked = np.asarray(maps)
    depth, dimension, height, width = stacked.shape
    patches = np.moveaxis(stacked, 1, -1).reshape(-1, dimension)
    indices = cluster(patches, k, n_init, seed).reshape(depth, height, width)
    rows = ((np.arange(shape[1]) + 0.5) * height / shape[1]).astype(int)
    columns = ((np.arange(shape[2]) + 0.5) * width / shape[2]).astype(int)
    return indices[:, rows[:, None], columns]


def best_cluster(clusters: NDArray[np.integer], label: NDArray[np.bool_], k: int) -> int:
    """The cluster with the largest DSC with the label over the volume; the first of several."""
    size = np.bincount(clusters.ravel(), minlength=k)
    overlap = np.bincount(clusters[label], minlength=k)
    return int(np.argmax(2 * overlap / (size + np.count_nonzero(label)).clip(1)))
