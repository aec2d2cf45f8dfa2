"""Precision and recall of the ROIs before and after each filter (Fig. 3a)."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from umsam.evaluation.formatting import format_number

SETS = ("omega_0", "valid", "target")
SET_NAMES = {"omega_0": "every ROI", "valid": "after shape priors", "target": "pseudo-labels"}
IOU_COLUMNS = ["case", "slice", "positive", "set", "iou"]


def iou_with_label(masks: NDArray[np.bool_], label: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute the intersection over union of each mask [K, H, W] and a label [H, W].

    It is 0 for an empty label.
    """
    intersection = np.count_nonzero(masks[:, label], axis=1)
    union = np.count_nonzero(masks, axis=(1, 2)) + np.count_nonzero(label) - intersection
    return intersection / np.maximum(union, 1)


def slice_ious(
    case: str,
    z: int,
    masks: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    pseudo_label: NDArray[np.bool_],
    label: NDArray[np.bool_],
) -> pd.DataFrame:
    """Compute the IoU with the label for the ROIs of the three sets on one slice.

    The target set is D_p of eq. 5, the pairs (X_n, Y_n): at most one pseudo-label per slice. It is
    not the target cluster, which can hold several ROIs of a slice; the choice among them, or their
    union, is part of the method. A slice with an empty pseudo-label adds no ROI.

    Parameters
    ----------
    case, z
        The case and the number of the slice.
    masks
        Every ROI of the slice, bool [K, H, W].
    valid
        Whether each ROI passes the shape priors, bool [K].
    pseudo_label, label
        bool [H, W].

    Returns
    -------
    A table with the columns `IOU_COLUMNS` and one row per ROI and set. An empty set has one row
    with the IoU NaN, so that the recall counts the slice.
    """
    all_ious = iou_with_label(masks, label)
    target = iou_with_label(pseudo_label[None], label) if pseudo_label.any() else np.empty(0)
    rows = [
        (case, z, bool(label.any()), name, iou)
        for name, ious in zip(SETS, (all_ious, all_ious[valid], target), strict=True)
        for iou in (ious if len(ious) else [np.nan])
    ]
    return pd.DataFrame(rows, columns=IOU_COLUMNS)


def precision_table(
    dataset: str, tables: Iterable[pd.DataFrame], thresholds: Sequence[float]
) -> pd.DataFrame:
    """Compute the fraction of ROIs with IoU > T for each set and T; empty for a set without ROIs.

    Parameters
    ----------
    dataset
        Name of the data set.
    tables
        The rows of `slice_ious`, in parts of any size.
    thresholds
        The values of T.
    """
    limits = np.asarray(thresholds, float)
    counts = dict.fromkeys(SETS, 0)
    hits = {name: np.zeros(len(limits), int) for name in SETS}
    for ious in tables:
        for name in SETS:
            values = ious.loc[ious["set"] == name, "iou"].dropna().to_numpy()
            counts[name] += len(values)
            hits[name] += (values[:, None] > limits).sum(axis=0)
    rows = [
        (dataset, name, threshold, hit / counts[name] if counts[name] else np.nan, counts[name])
        for name in SETS
        for threshold, hit in zip(thresholds, hits[name], strict=True)
    ]
    return pd.DataFrame(rows, columns=["dataset", "set", "threshold", "precision", "n_rois"])


def recall_table(
    dataset: str, tables: Iterable[pd.DataFrame], thresholds: Sequence[float]
) -> pd.DataFrame:
    """Compute the fraction of positive slices that have an ROI of IoU >= T in each set.

    It is an upper bound for any choice among the ROIs. For the parameters see `precision_table`.
    """
    keys = ["set", "case", "slice"]
    parts = [ious[ious["positive"]].groupby(keys)["iou"].max() for ious in tables]
    best = pd.concat(parts).groupby(keys).max().fillna(0.0)  # a slice may be in two parts
    rows = []
    for name in SETS:
        values = best[best.index.get_level_values("set") == name].to_numpy()
        for threshold in thresholds:
            recall = float((values >= threshold).mean()) if len(values) else np.nan
            rows.append((dataset, name, threshold, recall, len(values)))
    return pd.DataFrame(rows, columns=["dataset", "set", "threshold", "recall", "n_slices"])


def format_precision(table: pd.DataFrame, style: str) -> tuple[list[str], list[list[str]]]:
    """Format header and cells of the precision: one row per set, one column per threshold."""
    thresholds = list(table["threshold"].unique())
    greater = "$>$" if style == "tex" else ">"
    header = ["Set", "ROIs", *(f"IoU {greater} {threshold:g}" for threshold in thresholds)]
    cells = []
    for name, group in table.groupby("set", sort=False):
        precision = group.set_index("threshold")["precision"]
        numbers = [format_number(100 * precision[threshold], 1) for threshold in thresholds]
        cells.append([SET_NAMES[str(name)], str(group["n_rois"].iloc[0]), *numbers])
    return header, cells
