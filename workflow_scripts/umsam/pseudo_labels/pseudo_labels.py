"""The pseudo-labels of a volume (eq. 5): the ROIs of its slices that are in the target cluster."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from umsam.data.masks import read_slice_masks, slice_file

Links = Mapping[int, pd.DataFrame]
"""Of a slice z: the IoU of its ROIs (rows, by index) with the ROIs of slice z + 1 (columns)."""

# Each sorts the candidates (rows of `choose`) so that a slice's first one is the choice.
ORDERS: dict[str, Callable[[pd.DataFrame, float], pd.Series]] = {
    "nearest_centroid": lambda rois, prior: rois["distance"],
    "largest": lambda rois, prior: -rois["pixels"],
    "best_iou": lambda rois, prior: -rois["predicted_iou"],
    "nearest_attribute": lambda rois, prior: (rois["attribute"] - prior).abs(),
}
SELECTIONS = ("union", "continuous", *ORDERS)

LEAST_IOU = 0.5
"""Of two ROIs on neighbouring slices, for one to go on in the other (`continuous`)."""

NEARNESS_WEIGHT = 0.15
"""Of the distance to the centroid, as a share of its median, against IoU. On two real data sets and
three SAMs 0.1 to 0.2 are a plateau; it matters where SAM finds several things at one place."""


def choose(rois: pd.DataFrame, select: str, prior: float, links: Links) -> pd.DataFrame:
    """The ROIs that make the pseudo-label of one volume: rows of `rois`, by slice and index.

    Parameters
    ----------
    rois
        The volume's ROIs in the target cluster; columns slice, index, distance (to the centroid),
        attribute, pixels, predicted_iou.
    select
        union: all of them. continuous: one of each slice of a run of slices (`continuous`).
        Otherwise one of each slice: nearest_centroid, largest, best_iou (as SAM predicts it) or
        nearest_attribute (to the prior). Of equal ones the one with the lowest index.
    links
        As `read_links` gives them for this `select`.
    """
    rois = rois.sort_values(["slice", "index"], ignore_index=True)
    if select == "union" or rois.empty:
        return rois
    if select == "continuous":
        return continuous(rois, links)
    order = ORDERS[select](rois, prior).sort_values(kind="stable").index
    return rois.loc[order].groupby("slice").head(1).sort_index()


def continuous(rois: pd.DataFrame, links: Links) -> pd.DataFrame:
    """One ROI of each slice of a run of slices, such that each goes on in the next.

    Of all runs of consecutive slices and choices of ROIs the one for which the IoUs of neighbouring
    ROIs, less `LEAST_IOU` each, have the greatest sum. So the run ends where what follows is more
    unlike it than like it: beyond the end of an organ other things are in the cluster. What looks
    like the target on one slice alone is seldom continued on the next. Of ROIs that go on about
    equally well the ones nearest the centroid are taken: a distance of the volume's median counts
    nothing, one of 0 as much as `NEARNESS_WEIGHT` of IoU, one of twice the median as much less.
    Found by dynamic programming as the local alignment of sequences is (Smith and Waterman, J Mol
    Biol 1981).

    Parameters
    ----------
    rois
        At least one, sorted by slice and index; columns slice, index, distance (to the centroid).
    """
    median = rois["distance"].median() or 1.0
    slices, scores, arrivals = [], [], []
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
    at, rows = int(scores[place].argmax()), []
    while at >= 0:
        rows.insert(0, slices[place][1].index[at])
        place, at = place - 1, int(arrivals[place][at])
    return rois.loc[rows]


def overlaps(run: pd.DataFrame, links: Links) -> list[float]:
    """IoU of each ROI of a run, one a slice, with the next.

    `run` has the columns slice and index, of consecutive slices.
    """
    places = run[["slice", "index"]].to_numpy()
    return [float(links[z].at[index, following]) for (z, index), (_, following) in pairwise(places)]


def read_links(folder: str | Path, rois: pd.DataFrame, select: str) -> Links:
    """What `choose` has to know of the masks in a case's `folder`: nothing, unless continuous."""
    links: dict[int, pd.DataFrame] = {}
    if select != "continuous":
        return links
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
    intersection = (a @ b.T).astype(float)  # whole numbers below 2^24: exact
    union = a.sum(axis=1, keepdims=True) + b.sum(axis=1) - intersection
    return intersection / np.maximum(union, 1)


def target_rois(assigned: pd.DataFrame, rois: pd.DataFrame, target: int) -> pd.DataFrame:
    """ROIs of a case in the target cluster, with what `choose` asks for, a row each.

    `assigned` are the case's rows of ``clusters/assignments.csv``, `rois` is its table.
    """
    measured = rois[["slice", "index", "pixels", "predicted_iou"]]
    found = assigned[assigned["cluster"] == target]
    return found.merge(measured, on=["slice", "index"], how="left", validate="one_to_one")
