"""The target cluster: the one that is most like the organ, by the prior and by other evidence."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from umsam.pseudo_labels.clustering import Clusters, knee
from umsam.pseudo_labels.pseudo_labels import continuous, overlaps, read_links

log = logging.getLogger(__name__)

CONTINUITY_WEIGHT = 3.0
"""Against 1 for the discrepancy, as a share of the prior, and 1 for the share of ROIs. Between 2
and 3 the choices on parts of two real data sets, fetal brains and prostates, differ little."""

FAR = 0.5  # of the prior: a cluster that is farther from it is hardly the organ


@dataclass(frozen=True)
class Target:
    """The chosen cluster, with the figures of all clusters that the choice rests on."""

    cluster: int
    means: list[float | None]
    counts: list[int]
    continuity: list[float | None]
    near_tie: int | None
    reason: str


def counts_and_sums(
    assigned: Iterable[pd.DataFrame], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Number of ROIs of each of the k clusters and the sum of their attribute, both [k].

    `assigned` are a volume's ROIs each, columns cluster and attribute.
    """
    counts, sums = np.zeros(k, np.int64), np.zeros(k)
    for rois in assigned:
        counts += np.bincount(rois["cluster"], minlength=k)
        sums += np.bincount(rois["cluster"], weights=rois["attribute"], minlength=k)
    return counts, sums


def mean_continuity(
    assigned: Iterable[pd.DataFrame], folders: Mapping[str, str | Path], k: int
) -> NDArray[np.float64]:
    """How well the ROIs of each of the k clusters go on from slice to slice, [k] in 0 to 1.

    In each volume the longest-lasting run of the cluster's ROIs, one a slice (`continuous`), is
    taken; the continuity is the mean IoU of each with the next over all slices that have an ROI
    of the cluster, 0 for those outside of the run. An organ goes on; what is cut out by chance
    does not.

    Parameters
    ----------
    assigned
        A volume's training ROIs and their clusters, columns case, slice, index, cluster.
    folders
        Where the SAM masks of each case are.
    """
    totals, pairs = np.zeros(k), np.zeros(k)
    for table in assigned:
        for case, rois in table.groupby("case"):
            links = read_links(folders[case], rois, "continuous")
            for cluster, members in rois.groupby("cluster"):
                totals[cluster] += sum(overlaps(continuous(members, links), links))
                pairs[cluster] += members["slice"].nunique() - 1
    return totals / pairs.clip(1)


def choose_target(
    counts: NDArray[np.integer],
    sums: NDArray[np.floating],
    prior: float,
    near_tie: float,
    name: str = "attribute",
    continuity: NDArray[np.floating] | None = None,
) -> Target:
    """The cluster whose mean attribute over the training ROIs is nearest the prior (section 2.1).

    With `continuity` the discrepancy, as a share of the prior, is one of three kinds of evidence:
    the cluster's continuity, weighted, and its share of all ROIs are taken off it. Everything mode
    finds an organ on many slices, several times on each; what has its size by chance is found less
    often, and seldom goes on.

    Parameters
    ----------
    counts, sums
        Of the training ROIs, as `counts_and_sums` gives them.
    near_tie
        Another cluster that is worse than the best one by at most this, is warned of.
    name
        Of the attribute, for messages.
    continuity
        Of each cluster, as `mean_continuity` gives it.
    """
    k = len(counts)
    means = np.divide(sums, counts, out=np.full(k, np.nan), where=counts > 0)
    score = np.where(counts > 0, np.abs(means - prior) / prior, np.inf)
    known = [None] * k
    if continuity is not None:
        score = score - CONTINUITY_WEIGHT * continuity - counts / counts.sum()
        known = continuity.tolist()
    order = np.argsort(score, kind="stable")
    best = int(order[0])
    tied = int(order[1]) if k > 1 and score[order[1]] - score[best] <= near_tie else None

    def figures(cluster: int) -> str:
        steady = f", continuity {known[cluster]:.2f}" if known[cluster] is not None else ""
        return f"mean {name} {means[cluster]:.4g}, {counts[cluster]} ROIs{steady}"

    reason = f"cluster {best} fits the prior {prior:.4g} best: {figures(best)}"
    if tied is not None:
        reason += f"; cluster {tied} nearly as well: {figures(tied)}"
        log.warning(
            "WARNING: two clusters fit target.prior = %.4g about equally: cluster %d (%s) is "
            "taken, cluster %d (%s) is not. Look at figures/clusters.png; another prior, "
            "attribute, target.choose_by or number of clusters may tell them apart.",
            prior, best, figures(best), tied, figures(tied),
        )  # fmt: skip
    if abs(means[best] - prior) > FAR * prior:
        log.warning(
            "WARNING: no cluster is near target.prior = %.4g: cluster %d, which is taken, has %s. "
            "Look at figures/clusters.png; is the prior right, and do shape_priors let the organ "
            "pass?",
            prior, best, figures(best),
        )  # fmt: skip
    return Target(
        cluster=best,
        means=[None if np.isnan(mean) else float(mean) for mean in means],
        counts=counts.tolist(),
        continuity=known,
        near_tie=tied,
        reason=reason,
    )


def target_record(
    target: Target, clusters: Clusters, curve: pd.DataFrame, attribute: str, prior: float
) -> dict[str, Any]:
    """What ``clusters/target.json`` says."""
    figures = zip(target.means, target.counts, target.continuity, strict=True)
    return {
        "cluster": target.cluster,
        "attribute": attribute,
        "prior": prior,
        "k": clusters.k,
        "knee": knee(curve),
        "clusters": [
            {"cluster": index, "mean": mean, "count": count, "continuity": continuity}
            for index, (mean, count, continuity) in enumerate(figures)
        ],
        "near_tie": target.near_tie,
        "reason": target.reason,
    }
