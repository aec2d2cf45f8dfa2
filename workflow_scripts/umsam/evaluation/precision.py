"""Fig. 3a: the share of true positives among the pseudo-labels, before and after each filter."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SETS = ("omega_0", "valid", "target")
IOU_COLUMNS = ["case", "slice", "positive", "set", "iou"]


def iou_with_label(masks: NDArray[np.bool_], label: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intersection over union of each of the masks [K, H, W] with one label [H, W].

    An empty label gives zeros: there is nothing that an ROI could have found.
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
    """IoU with the label for the ROIs of the three sets on one slice.

    The target set is D_p of eq. 5, the pairs (X_n, Y_n): at most one pseudo-label a slice, and not
    the whole target cluster, of which a slice can hold several ROIs (the choice among them, or
    their union, is part of the method). A slice with an empty pseudo-label adds none.

    Parameters
    ----------
    masks
        Every ROI of the slice, bool [K, H, W].
    valid
        Which of them pass the shape priors, bool [K].
    pseudo_label, label
        bool [H, W].

    Returns
    -------
    DataFrame with the columns of `IOU_COLUMNS`; one row per ROI and set, and for each set that is
    empty here one row with an IoU of NaN, so that the slice is still counted for the recall.
    """
    every = iou_with_label(masks, label)
    chosen = iou_with_label(pseudo_label[None], label) if pseudo_label.any() else np.empty(0)
    rows = [
        (case, z, bool(label.any()), name, iou)
        for name, ious in zip(SETS, (every, every[valid], chosen), strict=True)
        for iou in (ious if len(ious) else [np.nan])
    ]
    return pd.DataFrame(rows, columns=IOU_COLUMNS)


def precision_table(
    dataset: str, tables: Iterable[pd.DataFrame], thresholds: Sequence[float]
) -> pd.DataFrame:
    """Share of the ROIs with IoU > T for each set and T; empty where a set has no ROI at all.

    `tables` are the rows of `slice_ious` in parts of any size.
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
    """Share of the positive slices that have an ROI of IoU >= T in each set.

    It bounds what any later choice among the ROIs can reach. `tables` as for `precision_table`.
    """
    keys = ["set", "case", "slice"]
    parts = [ious[ious["positive"]].groupby(keys)["iou"].max() for ious in tables]
    best = pd.concat(parts).groupby(keys).max().fillna(0.0)  # a slice may lie in two parts
    rows = []
    for name in SETS:
        values = best[best.index.get_level_values("set") == name].to_numpy()
        for threshold in thresholds:
            share = float((values >= threshold).mean()) if len(values) else np.nan
            rows.append((dataset, name, threshold, share, len(values)))
    return pd.DataFrame(rows, columns=["dataset", "set", "threshold", "recall", "n_slices"])
