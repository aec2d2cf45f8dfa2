"""K-means over ROI features, and its sum of squared errors over the number of clusters (section
2.1).

Everything is fitted to the training split; other ROIs are only assigned to the fitted clusters.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clusters:
    """A fitted K-means: centroids [K, D] and the sum of squared distances of its fit."""

    centroids: NDArray[np.float64]
    inertia: float

    @property
    def k(self) -> int:
        return len(self.centroids)


def fit(features: NDArray[np.float64], k: int, n_init: int, seed: int) -> Clusters:
    """scikit-learn's K-means; fewer clusters, with a warning, if there are fewer features than k.

    Elkan's algorithm takes half of the time of Lloyd's and the same steps. It runs on one thread:
    several threads would add partial sums in varying order, and the last digits would differ
    between runs.

    Raises
    ------
    ValueError
        There is no feature.
    """
    if not len(features):
        raise ValueError("no feature to cluster")
    if k > len(features):
        log.warning(
            "WARNING: clustering.k is %d, but only %d training ROIs are valid: each becomes a "
            "cluster of its own. Relax shape_priors, or lower clustering.k.",
            k, len(features),
        )  # fmt: skip
        k = len(features)
    algorithm = "elkan" if k > 1 else "lloyd"
    with threadpool_limits(1):
        kmeans = KMeans(n_clusters=k, n_init=n_init, random_state=seed, algorithm=algorithm)
        fitted = kmeans.fit(features)
    return Clusters(fitted.cluster_centers_, float(fitted.inertia_))


def sse_curve(
    features: NDArray[np.float64], first: int, last: int, n_init: int, seed: int, threads: int = 1
) -> pd.DataFrame:
    """Sum of squared errors for K = first..last, at most one less than there are features.

    Columns k, sse. If no K of the range is possible, the curve has the nearest possible K alone.
    Each thread takes one K at a time, the largest first; the number of threads does not change the
    result.
    """
    count = len(features)
    ks = list(range(first, min(last, count - 1) + 1)) or [min(first, count)]
    one_thread = threadpool_limits(1)  # of BLAS, which is global; OpenMP's is each thread's own
    with (
        one_thread,
        ThreadPoolExecutor(threads, initializer=threadpool_limits, initargs=(1,)) as pool,
    ):
        descending = list(pool.map(lambda k: fit(features, k, n_init, seed).inertia, reversed(ks)))
    return pd.DataFrame({"k": ks, "sse": descending[::-1]})
