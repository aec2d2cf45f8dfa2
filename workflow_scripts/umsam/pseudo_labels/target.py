"""The target cluster: the one that fits the prior best, optionally with further evidence (section
2.1)."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from umsam.pseudo_labels.pseudo_labels import longest_run, overlaps, read_links

log = logging.getLogger(__name__)

CONTINUITY_WEIGHT = 3.0
"""Weight of the continuity; the discrepancy, as a share of the prior, and the share of ROIs have
weight 1. On subsets of two real data sets, fetal brains and prostates, weights of 2 to 3 choose
alike."""

FAR = 0.5  # of the prior: a cluster beyond this distance is unlikely to be the organ


@dataclass(frozen=True)
class Target:
    """The chosen cluster, with the numbers of all clusters that the choice is based on."""

    cluster: int
    means: list[float | None]
    counts: list[int]
    continuity: list[float | None]
    near_tie: int | None
    reason: str


def counts_and_sums(
    assigned: Iterable[pd.DataFrame], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Number of ROIs in each of the k clusters and the sum of their attribute, both [k].

    `assigned` gives the ROIs of one volume after another, columns cluster and attribute.
    """
    counts, sums = np.zeros(k, np.int64), np.zeros(k)
    for rois in assigned:
        counts += np.bincount(rois["cluster"], minlength=k)
        sums += np.bincount(rois["cluster"], weights=rois["attribute"], minlength=k)
    return counts, sums


def mean_continuity(
    assigned: Iterable[pd.DataFrame], folders: Mapping[str, str | Path], k: int
) -> NDArray[np.float64]:
    """How well the ROIs of each of the k clusters continue from slice to slice, [k] from 0 to 1.

    In each volume the best run of the cluster's ROIs, one per slice, is found (`longest_run`). The
    continuity is the mean IoU of neighbours in the run, over all slices that have an ROI of the
    cluster; slices outside of the run count as 0. An organ continues; chance segments do not.

    Parameters
    ----------
    assigned
        The training ROIs of one volume after another, columns case, slice, index, cluster.
    folders
        The folder of SAM's masks of each case.
    k
        Number of clusters.
    """
    totals, pairs = np.zeros(k), np.zeros(k)
    for table in assigned:
        for case, rois in table.groupby("case"):
            links = read_links(folders[str(case)], rois)
            for cluster, members in rois.groupby("cluster"):
                totals[cluster] += sum(overlaps(longest_run(members, links), links))
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
    """The cluster whose mean attribute over the training ROIs is nearest to the prior (section
    2.1).

    With `continuity`, the discrepancy (as a share of the prior) is reduced by the cluster's
    weighted continuity and by its share of all ROIs. Everything mode finds an organ on many slices,
    often several times; segments that match its size by chance are rarer and seldom continue.

    Parameters
    ----------
    counts, sums
        Per cluster, from `counts_and_sums`.
    prior
        The mean attribute of the organ.
    near_tie
        A warning names the second-best cluster if its score is within this distance of the best.
    name
        Name of the attribute, for messages.
    continuity
        Per cluster, from `mean_continuity`.
    """
    k = len(counts)
    means = np.divide(sums, counts, out=np.full(k, np.nan), where=counts > 0)
    score = np.where(counts > 0, np.abs(means - prior) / prior, np.inf)
    shown: list[float | None] = [None] * k
    if continuity is not None:
        score = score - CONTINUITY_WEIGHT * continuity - counts / counts.sum()
        shown = continuity.tolist()
    order = np.argsort(score, kind="stable")
    best = int(order[0])
    tied = int(order[1]) if k > 1 and score[order[1]] - score[best] <= near_tie else None

    def describe(cluster: int) -> str:
        text = f"mean {name} {means[cluster]:.4g}, {counts[cluster]} ROIs"
        return text if shown[cluster] is None else f"{text}, continuity {shown[cluster]:.2f}"

    reason = f"cluster {best} fits the prior {prior:.4g} best: {describe(best)}"
    if tied is not None:
        reason += f"; cluster {tied} fits nearly as well: {describe(tied)}"
        _warn_of_tie(prior, f"{best} ({describe(best)})", f"{tied} ({describe(tied)})")
    if abs(means[best] - prior) > FAR * prior:
        _warn_of_distance(prior, best, describe(best))
    return Target(
        cluster=best,
        means=[None if np.isnan(mean) else float(mean) for mean in means],
        counts=counts.tolist(),
        continuity=shown,
        near_tie=tied,
        reason=reason,
    )


def _warn_of_tie(prior: float, chosen: str, other: str) -> None:
    log.warning(
        "WARNING: two clusters fit target.prior = %.4g about equally well: cluster %s, which was "
        "chosen, and cluster %s. Look at figures/clusters.png. Another prior, target.attribute, "
        "target.choose_by or clustering.k may separate them.",
        prior,
        chosen,
        other,
    )


def _warn_of_distance(prior: float, cluster: int, description: str) -> None:
    log.warning(
        "WARNING: no cluster is near target.prior = %.4g: cluster %d, which was chosen, has %s. "
        "Look at figures/clusters.png. Check the prior, and that shape_priors keep the organ.",
        prior,
        cluster,
        description,
    )


def target_record(target: Target, attribute: str, prior: float) -> dict[str, Any]:
    """The content of ``clusters/target.json``."""
    figures = zip(target.means, target.counts, target.continuity, strict=True)
    return {
        "cluster": target.cluster,
        "attribute": attribute,
        "prior": prior,
        "k": len(target.counts),
        "clusters": [
            {"cluster": index, "mean": mean, "count": count, "continuity": continuity}
            for index, (mean, count, continuity) in enumerate(figures)
        ],
        "near_tie": target.near_tie,
        "reason": target.reason,
    }
