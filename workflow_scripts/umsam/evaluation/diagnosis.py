"""Which step limits the pseudo-labels: each step's result with what comes after done by an oracle.

The oracle sees the labels. It takes the best ROI of a slice (or none), or the best cluster; the
DSC that is lost from one row to the next is what that step costs. A volume's DSC needs no volumes:
with one ROI a slice it follows from the pixels of ROI, label and both.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from umsam.evaluation.precision import iou_with_label
from umsam.evaluation.tables import number, percent, plus_minus, spread
from umsam.pseudo_labels.pseudo_labels import Links, choose

ROW_COLUMNS = ["step", "knob", "n", "dsc_mean", "dsc_std", "lost", "recall", "precision"]
HIT = 0.5
"""IoU from which a pseudo-label counts in recall and precision."""

KNOBS = {
    "everything mode": "sam: model, field_of_view, points_per_side, lower thresholds",
    "shape priors": "shape_priors: the bounds (rois/*.csv says which rejects)",
    "clusters": "clustering: features, k, whiten, position; dino: model",
    "ROI of a slice": "target.select; more or other clusters",
    "target cluster": "target: attribute, prior (figures/clusters.png)",
}


def measured_rois(
    masks: NDArray[np.bool_], rois: pd.DataFrame, label: NDArray[np.bool_]
) -> pd.DataFrame:
    """The rows of a slice's ROIs with `iou` and `overlap`, the pixels in the label.

    Parameters
    ----------
    masks
        [K, H, W].
    rois
        The slice's rows of ``rois/{case}.csv``, in the masks' order.
    label
        [H, W].
    """
    return rois.assign(
        iou=iou_with_label(masks, label),
        overlap=np.count_nonzero(masks[:, label], axis=1),
    )


def best_of_each_slice(rois: pd.DataFrame) -> pd.DataFrame:
    """The ROI of each slice that overlaps the label best; none where none does."""
    hits = rois[rois["overlap"] > 0]
    return hits.loc[hits.groupby(["case", "slice"])["iou"].idxmax()]


def chosen_of_each_volume(
    rois: pd.DataFrame, select: str, prior: float, links: Mapping[str, Links]
) -> pd.DataFrame:
    """The ROIs that eq. 5 takes (`choose`) of each volume's."""
    parts = [
        choose(group, select, prior, links.get(case, {})) for case, group in rois.groupby("case")
    ]
    return pd.concat(parts) if parts else rois


def volume_dsc(picked: pd.DataFrame, label_pixels: Mapping[str, int]) -> NDArray[np.float64]:
    """DSC of each case in `label_pixels`, of disjoint or single ROIs a slice."""
    sums = picked.groupby("case")[["pixels", "overlap"]].sum()
    sums = sums.reindex(list(label_pixels), fill_value=0)
    return (2 * sums["overlap"] / (sums["pixels"] + pd.Series(label_pixels))).to_numpy(float)


def diagnosis(
    rois: pd.DataFrame,
    label_pixels: Mapping[str, int],
    positive: int,
    target: int,
    select: str,
    prior: float,
    links: Mapping[str, Links],
) -> pd.DataFrame:
    """The table of oracles, a row (`ROW_COLUMNS`) a step.

    Parameters
    ----------
    rois
        All ROIs of the labelled volumes: case, slice, index, pixels, predicted_iou, valid, iou,
        overlap; of the valid ones also cluster, distance, attribute (others: NaN).
    label_pixels
        Of each labelled volume; their DSCs are averaged.
    positive
        Slices with the organ.
    target
        The chosen cluster.
    select, prior
        As in the configuration. `union` is diagnosed as if its ROIs were disjoint.
    links
        Of the valid ROIs of each volume, as `choose` needs them.
    """
    valid = rois[rois["valid"]]
    clusters = {int(k): group for k, group in valid.groupby("cluster")}
    by_choice = {
        k: chosen_of_each_volume(group, select, prior, links) for k, group in clusters.items()
    }

    def best(options: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
        if not options:
            return valid[:0]
        return max(options.values(), key=lambda rows: volume_dsc(rows, label_pixels).mean())

    picked = {
        "everything mode": best_of_each_slice(rois),
        "shape priors": best_of_each_slice(valid),
        "clusters": best({k: best_of_each_slice(group) for k, group in clusters.items()}),
        "ROI of a slice": best(by_choice),
        "target cluster": by_choice.get(target, valid[:0]),
    }
    rows, before = [], 1.0
    for step, chosen in picked.items():
        dsc = volume_dsc(chosen, label_pixels)
        hits = int((chosen["iou"] >= HIT).sum())
        rows.append(
            (
                step,
                KNOBS[step],
                len(dsc),
                dsc.mean(),
                spread(pd.Series(dsc)),
                before - dsc.mean(),
                hits / positive if positive else np.nan,
                hits / len(chosen) if len(chosen) else np.nan,
            )
        )
        before = dsc.mean()
    return pd.DataFrame(rows, columns=ROW_COLUMNS)


def diagnosis_text(table: pd.DataFrame, style: str) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the printed table, for the style ``md`` or ``tex``."""
    header = ["up to", percent("DSC", style), percent("lost", style), "recall", "precision", "knob"]
    cells = [
        [
            row.step,
            plus_minus(row.dsc_mean, row.dsc_std, style, 100),
            number(100 * row.lost, 1),
            number(row.recall),
            number(row.precision),
            row.knob,
        ]
        for row in table.itertuples()
    ]
    return header, cells
