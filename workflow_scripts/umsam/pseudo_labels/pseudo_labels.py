"""The pseudo-label of a volume (eq. 5): one ROI per slice, or several, from the target cluster."""

import logging
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from umsam.data.masks import read_slice_masks, slice_file

log = logging.getLogger(__name__)

Links = Mapping[int, pd.DataFrame]
"""Slice z -> the IoU of its ROIs (rows, by index) with the ROIs of slice z + 1 (columns)."""

# Each sorts the candidates (rows of `choose`) so that the first one of each slice is chosen.
ORDERS: dict[str, Callable[[pd.DataFrame, float], pd.Series]] = {
    "nearest_centroid": lambda rois, prior: rois["distance"],
    "largest": lambda rois, prior: -rois["pixels"],
    "best_iou": lambda rois, prior: -rois["predicted_iou"],
    "nearest_attribute": lambda rois, prior: (rois["attribute"] - prior).abs(),
}
SELECTIONS = ("union", "continuous", *ORDERS)

LEAST_IOU = 0.5
"""IoU above which an ROI counts as continued by an ROI of the next slice."""

NEARNESS_WEIGHT = 0.15
"""Weight of the distance to the centroid, as a share of its median, relative to IoU. On two real
data sets and with three SAMs, values from 0.1 to 0.2 perform alike. It matters if SAM finds several
structures in one place."""


def choose(rois: pd.DataFrame, select: str, prior: float, links: Links) -> pd.DataFrame:
    """The ROIs that form the pseudo-label of one volume: rows of `rois`, by slice and index.

    Parameters
    ----------
    rois
        The volume's ROIs in the target cluster; columns slice, index, distance (to the centroid),
        attribute, pixels, predicted_iou.
    select
        union: all of them. continuous: one ROI per slice of a run of slices (`longest_run`).
        Otherwise one ROI per slice: nearest_centroid, largest, best_iou (SAM's own estimate) or
        nearest_attribute (to the prior). Among equal ROIs, the one with the lowest index.
    prior
        Of the attribute.
    links
        From `read_links`; only continuous needs them.
    """
    rois = rois.sort_values(["slice", "index"], ignore_index=True)
    if select == "union" or rois.empty:
        return rois
    if select == "continuous":
        return longest_run(rois, links)
    order = ORDERS[select](rois, prior).sort_values(kind="stable").index
    return rois.loc[order].groupby("slice").head(1).sort_index()


def select_rois(
    rois: pd.DataFrame, select: str, prior: float, folder: str | Path, case: str
) -> pd.DataFrame:
    """`choose` for a case whose masks are in `folder`.

    Warns if no ROI of the case is in the target cluster, and if a run has a single slice.
    """
    if rois.empty:
        log.warning(
            "WARNING: case %s: none of its ROIs is in the target cluster, so its pseudo-label is "
            "empty, and a training on it learns background. Look at its ROIs in "
            "clusters/assignments.csv. If it differs from the other volumes, for example by its "
            "scanner, clustering.centre_per_volume may help.",
            case,
        )
    links = read_links(folder, rois) if select == "continuous" else {}
    chosen = choose(rois, select, prior, links)
    candidates = rois["slice"].nunique()
    if select == "continuous" and len(chosen) == 1 < candidates:
        log.warning(
            "WARNING: case %s: ROIs of the target cluster are on %d slices, but the pseudo-label "
            "is on one of them only, because few ROIs overlap an ROI on the next slice by more "
            "than half. If slices are this far apart, use target.select: nearest_centroid, which "
            "takes one ROI of each slice.",
            case,
            candidates,
        )
    return chosen


def draw_label(
    chosen: pd.DataFrame, folder: str | Path, shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """The chosen ROIs of a case as a label [Z, H, W]; `folder` holds its masks."""
    label = np.zeros(shape, np.uint8)
    for z, of_slice in chosen.groupby("slice"):
        masks = read_slice_masks(slice_file(folder, int(str(z)))).masks
        label[z] = masks[of_slice["index"]].any(axis=0)
    return label


def longest_run(rois: pd.DataFrame, links: Links) -> pd.DataFrame:
    """One ROI per slice of a run of consecutive slices, such that each continues in the next.

    Among all runs and all choices of ROIs, the result maximises the sum over neighbours of their
    IoU minus `LEAST_IOU`. So a run ends where the next ROI has less than that overlap: beyond the
    end of an organ, other structures may be in the cluster, and a structure that resembles the
    organ on a single slice rarely continues. ROIs close to the centroid get a bonus:
    `NEARNESS_WEIGHT` at distance 0, nothing at the median distance of the volume, and the same
    weight as a penalty at twice the median. Found by dynamic programming, as in local sequence
    alignment (Smith and Waterman, J Mol Biol 1981).

    Parameters
    ----------
    rois
        At least one, sorted by slice and index; columns slice, index, distance (to the centroid).
    links
        From `read_links`.
    """
    median = rois["distance"].median() or 1.0
    slices: list[tuple[Any, pd.Series]] = []
    scores: list[NDArray[np.float64]] = []
    arrivals: list[NDArray[np.int64]] = []
    for z, group in rois.groupby("slice"):
        indices = group["index"]
        nearness = NEARNESS_WEIGHT * (1 - group["distance"].to_numpy() / median)
        score, arrival = nearness, np.full(len(indices), -1)
        if slices and slices[-1][0] == z - 1:
            gain = links[z - 1].loc[slices[-1][1], indices].to_numpy() - LEAST_IOU
            total = scores[-1][:, None] + gain
            best = total.max(axis=0)
            arrival = np.where(best > 0, total.argmax(axis=0), -1)
            score = nearness + best.clip(0)
        slices.append((z, indices))
        scores.append(score)
        arrivals.append(arrival)
    place = max(range(len(slices)), key=lambda i: scores[i].max())
    position = int(scores[place].argmax())
    rows: list[Any] = []
    while position >= 0:
        rows.insert(0, slices[place][1].index[position])
        place, position = place - 1, int(arrivals[place][position])
    return rois.loc[rows]


def overlaps(run: pd.DataFrame, links: Links) -> list[float]:
    """IoU of each ROI of a run with the next.

    `run` has one ROI per slice, of consecutive slices; columns slice and index.
    """
    places = run[["slice", "index"]].to_numpy()
    return [float(links[z].at[index, following]) for (z, index), (_, following) in pairwise(places)]


def read_links(folder: str | Path, rois: pd.DataFrame) -> Links:
    """The overlap of ROIs on neighbouring slices, from the masks in a case's `folder`.

    `rois` has the columns slice and index.
    """
    links: dict[int, pd.DataFrame] = {}
    before = None
    for z, group in rois.groupby("slice"):
        masks = read_slice_masks(slice_file(folder, z)).masks[group["index"]]
        if before is not None and before[0] == z - 1:
            iou = pairwise_iou(before[2], masks)
            links[before[0]] = pd.DataFrame(iou, before[1], group["index"].to_numpy())
        before = z, group["index"].to_numpy(), masks
    return links


def pairwise_iou(masks: NDArray[np.bool_], others: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intersection over union of each of the masks [N, H, W] with each of the others [M, H, W]."""
    a, b = (m.reshape(len(m), -1).astype(np.float32) for m in (masks, others))
    intersection = (a @ b.T).astype(float)  # whole numbers below 2^24 are exact
    union = a.sum(axis=1, keepdims=True) + b.sum(axis=1) - intersection
    return intersection / np.maximum(union, 1)


def target_rois(assigned: pd.DataFrame, rois: pd.DataFrame, target: int) -> pd.DataFrame:
    """The ROIs of a case in the target cluster, with the columns that `choose` needs.

    Parameters
    ----------
    assigned
        The case's rows of ``clusters/assignments.csv``.
    rois
        The case's ROI table.
    target
        The target cluster.
    """
    measured = rois[["slice", "index", "pixels", "predicted_iou"]]
    members = assigned[assigned["cluster"] == target]
    return members.merge(measured, on=["slice", "index"], how="left", validate="one_to_one")
