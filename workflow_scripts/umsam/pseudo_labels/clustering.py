"""K-means over ROI features and the choice of the target cluster (section 2.1).

Everything is fitted on the training split; other ROIs are only assigned to the fitted clusters.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Target:
    """The chosen cluster, with the figures of all clusters that the choice rests on."""

    cluster: int
    means: list[float | None]
    counts: list[int]
    near_tie: int | None
    reason: str


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


def choose_target(
    counts: NDArray[np.integer],
    sums: NDArray[np.floating],
    prior: float,
    near_tie: float,
    name: str = "attribute",
) -> Target:
    """The cluster whose mean attribute over the training ROIs is nearest the prior.

    Parameters
    ----------
    counts, sums
        Number of training ROIs of each cluster and the sum of their attribute, [K].
    near_tie
        Another cluster whose discrepancy exceeds the best one's by at most this share of the prior
        is warned of.
    name
        Of the attribute, for messages.
    """
    k = len(counts)
    means = np.divide(sums, counts, out=np.full(k, np.nan), where=counts > 0)
    discrepancy = np.where(counts > 0, np.abs(means - prior), np.inf)
    order = np.argsort(discrepancy, kind="stable")
    best = int(order[0])
    reason = (
        f"cluster {best}: mean {name} {means[best]:.4g} of {counts[best]} ROIs is nearest the "
        f"prior {prior:.4g}"
    )
    tied = None
    if k > 1 and discrepancy[order[1]] - discrepancy[best] <= near_tie * prior:
        tied = int(order[1])
        reason += f"; cluster {tied} is nearly as near: {means[tied]:.4g} of {counts[tied]} ROIs"
        log.warning(
            "WARNING: two clusters fit target.prior = %.4g about equally: cluster %d (mean %s "
            "%.4g, %d ROIs) is taken, cluster %d (%.4g, %d ROIs) is not. Look at "
            "figures/clusters.png; another prior, attribute or number of clusters may tell them "
            "apart.",
            prior, best, name, means[best], counts[best], tied, means[tied], counts[tied],
        )  # fmt: skip
    return Target(
        cluster=best,
        means=[None if np.isnan(mean) else float(mean) for mean in means],
        counts=counts.tolist(),
        near_tie=tied,
        reason=reason,
    )


def target_record(
    target: Target, clusters: Clusters, curve: pd.DataFrame, attribute: str, prior: float
) -> dict[str, Any]:
    """What ``clusters/target.json`` says."""
    return {
        "cluster": target.cluster,
        "attribute": attribute,
        "prior": prior,
        "k": clusters.k,
        "knee": knee(curve),
        "clusters": [
            {"cluster": index, "mean": mean, "count": count}
            for index, (mean, count) in enumerate(zip(target.means, target.counts, strict=True))
        ],
        "near_tie": target.near_tie,
        "reason": target.reason,
    }
