"""The target cluster: the one whose ROIs are like the prior, or of several such the steadiest."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from umsam.pseudo_labels.clustering import Clusters, knee
from umsam.pseudo_labels.pseudo_labels import continuous, read_links, steps

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """The chosen cluster, with the figures of all clusters that the choice rests on."""

    cluster: int
    means: list[float | None]
    counts: list[int]
    continuity: list[float | None]
    near_tie: int | None
    reason: str


def _means(counts: NDArray[np.integer], sums: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def near_prior(
    counts: NDArray[np.integer], sums: NDArray[np.floating], prior: float, near_tie: float
) -> list[int]:
    """The cluster whose mean attribute is nearest the prior, then those about as near.

    Parameters
    ----------
    counts, sums
        Number of training ROIs of each cluster and the sum of their attribute, [K].
    near_tie
        Others whose discrepancy exceeds the best one's by at most this share of the prior.
    """
    discrepancy = np.where(counts > 0, np.abs(_means(counts, sums) - prior), np.inf)
    order = np.argsort(discrepancy, kind="stable")
    limit = discrepancy[order[0]] + near_tie * prior
    return [int(cluster) for cluster in order if discrepancy[cluster] <= limit]


def mean_continuity(
    assigned: Iterable[pd.DataFrame], folders: Mapping[str, str | Path], clusters: Iterable[int]
) -> dict[int, float]:
    """How well the ROIs of each of the clusters go on from slice to slice, between 0 and 1.

    In each volume the ROIs of the cluster that overlap most from slice to slice (`continuous`) are
    taken, one a slice; the continuity is the mean IoU of each with the next, 0 across slices that
    have none, over all volumes. An organ goes on; what is cut out by chance does not.

    Parameters
    ----------
    assigned
        A volume's training ROIs and their clusters, columns case, slice, index, cluster.
    folders
        Where the SAM masks of each case are.
    """
    totals, pairs = dict.fromkeys(clusters, 0.0), dict.fromkeys(clusters, 0)
    for table in assigned:
        table = table[table["cluster"].isin(list(totals))]
        for case, rois in table.groupby("case"):
            links = read_links(folders[case], rois, "continuous")
            for cluster, members in rois.groupby("cluster"):
                overlaps = steps(continuous(members, links), links)
                totals[cluster] += sum(overlaps)
                pairs[cluster] += len(overlaps)
    return {cluster: totals[cluster] / max(pairs[cluster], 1) for cluster in totals}


def choose_target(
    counts: NDArray[np.integer],
    sums: NDArray[np.floating],
    prior: float,
    near_tie: float,
    name: str = "attribute",
    continuity: Mapping[int, float] | None = None,
) -> Target:
    """The cluster whose mean attribute over the training ROIs is nearest the prior (section 2.1).

    Parameters
    ----------
    counts, sums, near_tie
        As in `near_prior`.
    name
        Of the attribute, for messages.
    continuity
        Of the clusters near the prior, which then decides among them; without it the nearest is
        taken, and a near tie is warned of.
    """
    means, near = _means(counts, sums), near_prior(counts, sums, prior, near_tie)
    known = continuity or {}
    best = max(near, key=lambda cluster: known[cluster]) if known else near[0]
    tied = next((cluster for cluster in near if cluster != best), None)
    reason = f"cluster {best}: mean {name} {means[best]:.4g} of {counts[best]} ROIs is "
    if tied is None:
        reason += f"nearest the prior {prior:.4g}"
    elif known:
        others = ", ".join(f"{known[c]:.2f} of cluster {c}" for c in near if c != best)
        reason += (
            f"near the prior {prior:.4g}, and it goes on best from slice to slice: continuity "
            f"{known[best]:.2f} against {others}"
        )
    else:
        reason += (
            f"nearest the prior {prior:.4g}; cluster {tied} is nearly as near: {means[tied]:.4g} "
            f"of {counts[tied]} ROIs"
        )
        log.warning(
            "WARNING: two clusters fit target.prior = %.4g about equally: cluster %d (mean %s "
            "%.4g, %d ROIs) is taken, cluster %d (%.4g, %d ROIs) is not. Look at "
            "figures/clusters.png; target.tie_break: continuity, another prior, attribute or "
            "number of clusters may tell them apart.",
            prior, best, name, means[best], counts[best], tied, means[tied], counts[tied],
        )  # fmt: skip
    return Target(
        cluster=best,
        means=[None if np.isnan(mean) else float(mean) for mean in means],
        counts=counts.tolist(),
        continuity=[known.get(cluster) for cluster in range(len(counts))],
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
