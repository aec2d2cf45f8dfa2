"""K-means over ROI features and the choice of the target cluster (section 2.1).

Everything is fitted on the training split; other ROIs are only assigned to the fitted clusters.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.preprocessing import normalize

log = logging.getLogger(__name__)

ASSIGNMENT_COLUMNS = [
    "case",
    "split",
    "slice",
    "index",
    "cluster",
    "distance",
    "attribute",
]


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


def prepared(features: NDArray[np.floating], l2_normalise: bool) -> NDArray[np.float64]:
    """Features [N, D] as K-means sees them: float64, of length 1 where that is asked."""
    features = np.asarray(features, np.float64)
    return normalize(features) if l2_normalise and len(features) else features


def fit(features: NDArray[np.float64], k: int, n_init: int, seed: int) -> Clusters:
    """scikit-learn's K-means; fewer clusters, with a warning, when there are fewer features than k.

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
    fitted = KMeans(n_clusters=k, n_init=n_init, random_state=seed).fit(features)
    return Clusters(fitted.cluster_centers_, float(fitted.inertia_))


def assign(
    features: NDArray[np.float64], clusters: Clusters
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest centroid of each feature and the distance to it, both [N]."""
    if not len(features):
        return np.zeros(0, np.int64), np.zeros(0)
    distances = np.linalg.norm(features[:, None] - clusters.centroids[None], axis=2)
    return distances.argmin(axis=1), distances.min(axis=1)


def sse_curve(
    features: NDArray[np.float64], first: int, last: int, n_init: int, seed: int
) -> pd.DataFrame:
    """Sum of squared errors for K = first..last, at most one less than there are features.

    Columns k, sse. Where no K of the range is possible, the one nearest to it.
    """
    count = len(features)
    ks = range(first, min(last, count - 1) + 1) or [min(first, count)]
    return pd.DataFrame(
        {"k": list(ks), "sse": [fit(features, k, n_init, seed).inertia for k in ks]}
    )


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
    clusters: NDArray[np.integer],
    attributes: NDArray[np.floating],
    k: int,
    prior: float,
    near_tie: float,
    name: str = "attribute",
) -> Target:
    """The cluster whose mean attribute over the training ROIs is nearest the prior.

    Parameters
    ----------
    clusters, attributes
        Of the training ROIs, [N].
    near_tie
        Another cluster whose discrepancy exceeds the best one's by at most this share of the prior
        is warned of.
    name
        Of the attribute, for messages.
    """
    counts = np.bincount(clusters, minlength=k)
    sums = np.bincount(clusters, weights=attributes, minlength=k)
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


def ordered_rois(rois: pd.DataFrame) -> NDArray[np.int64]:
    """Positions that sort ROIs by case, slice and index: the fit depends on no order of files."""
    return rois.reset_index(drop=True).sort_values(["case", "slice", "index"]).index.to_numpy()


def read_roi_features(
    cases: Sequence[str], files: Sequence[str]
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """The valid ROIs of cases, sorted: a table (case, slice, index) and their features [N, D]."""
    tables, features = [], []
    for case, path in zip(cases, files, strict=True):
        with np.load(path, allow_pickle=False) as file:
            tables.append(
                pd.DataFrame({"case": case, "slice": file["slice"], "index": file["index"]})
            )
            features.append(file["features"])
    table, stacked = pd.concat(tables, ignore_index=True), np.concatenate(features)
    order = ordered_rois(table)
    return table.iloc[order].reset_index(drop=True), stacked[order]


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
