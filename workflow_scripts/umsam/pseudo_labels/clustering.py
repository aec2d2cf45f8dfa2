"""K-means over ROI features, and the number of clusters that its errors suggest (section 2.1).

Everything is fitted on the training split; other ROIs are only assigned to the fitted clusters.
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
    """scikit-learn's K-means; fewer clusters, with a warning, when there are fewer features than k.

    Elkan's algorithm: the iterations of Lloyd's in half of the time. On one thread, for threads
    add partial sums in an order of their own, and the last digits would differ between runs.

    Raises
    ------
    ValueError
        There is no feature.
    """
    if not len(features):
        raise ValueError("no feature to cluster")
    if k > len(features):
        log.warning(
            "WARNING: clustering.k is %d, but only %d training ROIs are valid: %d clusters, one an "
            "ROI. Relax shape_priors, or lower clustering.k.",
            k, len(features), len(features),
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

    Columns k, sse. Where no K of the range is possible, the one nearest to it. Threads take whole
    values of K, the largest first; their number changes no figure.
    """
    count = len(features)
    ks = list(range(first, min(last, count - 1) + 1)) or [min(first, count)]
    one_thread = threadpool_limits(1)  # of BLAS, which is global; OpenMP's is each thread's own
    with (
        one_thread,
        ThreadPoolExecutor(threads, initializer=threadpool_limits, initargs=(1,)) as pool,
    ):
        falling = list(pool.map(lambda k: fit(features, k, n_init, seed).inertia, reversed(ks)))
    return pd.DataFrame({"k": ks, "sse": falling[::-1]})


def knee(curve: pd.DataFrame) -> int:
    """The K of the point furthest below the chord from the first to the last point of the curve.

    Both axes are scaled to [0, 1] first. A curve that never lies below its chord has its knee at
    the first K.
    """
    k, sse = curve["k"].to_numpy(float), curve["sse"].to_numpy(float)
    if len(k) < 3 or sse[0] <= sse[-1]:
        return int(k[0])
    across = (k - k[0]) / (k[-1] - k[0])
    down = (sse - sse[-1]) / (sse[0] - sse[-1])
    return int(k[np.argmax(1 - across - down)])
