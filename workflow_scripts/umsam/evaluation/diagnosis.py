"""Which step limits the pseudo-labels: each step's result with what comes after done by an oracle.

The oracle sees the labels. It takes, of each slice, the ROI or none, such that the volume's DSC is
the greatest there is, and the best cluster; the DSC that is lost from one row to the next is what
that step costs. A volume's DSC needs no volumes: with one ROI a slice it follows from the pixels of
ROI, label and both.
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
    "refined labels": "training.targets",
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


def measured_slices(case: str, mask: NDArray[np.bool_], label: NDArray[np.bool_]) -> pd.DataFrame:
    """The same columns for a volume's mask [Z, H, W]: a row for each slice that has some."""
    pixels, overlap = (np.count_nonzero(a, axis=(1, 2)) for a in (mask, mask & label))
    union = pixels + np.count_nonzero(label, axis=(1, 2)) - overlap
    table = pd.DataFrame({"slice": np.arange(len(mask)), "pixels": pixels, "overlap": overlap})
    table = table.assign(iou=overlap / np.maximum(union, 1), case=case)
    return table[table["pixels"] > 0]


def best_of_each_slice(rois: pd.DataFrame, label_pixels: Mapping[str, int]) -> pd.DataFrame:
    """One ROI of each slice, or none, such that the DSC of each volume is the greatest there is.

    The DSC is a ratio of sums over slices: at the greatest, d, each slice's ROI is the one with the
    greatest 2 overlap - d pixels, and is left out where that is not positive (Dinkelbach, On
    nonlinear fractional programming, 1967). Starting from 0, d rises to it in a few rounds.
    """
    parts = [rois[:0]]
    for case, of_case in rois.groupby("case"):
        dsc, before = 0.0, -1.0
        picked = of_case[:0]
        while dsc > before:
            gain = 2 * of_case["overlap"] - dsc * of_case["pixels"]
            best = gain.groupby(of_case["slice"]).idxmax()
            picked, before = of_case.loc[best[gain[best].to_numpy() > 0]], dsc
            dsc = float(volume_dsc(picked, {str(case): label_pixels[str(case)]})[0])
        parts.append(picked)
    return pd.concat(parts)


def chosen_of_each_volume(
    rois: pd.DataFrame, select: str, prior: float, links: Mapping[str, Links]
) -> pd.DataFrame:
    """The ROIs that eq. 5 takes (`choose`) of each volume's."""
    parts = [
        choose(group, select, prior, links.get(case, {})) for case, group in rois.groupby("case")
    ]
    return pd.concat(parts) if parts else rois


def volume_dsc(picked: pd.DataFrame, label_pixels: Mapping[str, int]) -> NDArray[np.float64]:
    """DSC of each case in `label_pixels`, of disjoint ROIs or one a slice; of two empty sets 1."""
    sums = picked.groupby("case")[["pixels", "overlap"]].sum()
    sums = sums.reindex(list(label_pixels), fill_value=0)
    dsc = 2 * sums["overlap"] / (sums["pixels"] + pd.Series(label_pixels))
    return dsc.fillna(1.0).to_numpy(float)


def diagnosis(
    rois: pd.DataFrame,
    label_pixels: Mapping[str, int],
    positive: int,
    target: int,
    select: str,
    prior: float,
    links: Mapping[str, Links],
    refined: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The table of oracles, a row (`ROW_COLUMNS`) a step.

    DSC and precision are of the ROIs that the oracle picks of what the step leaves; recall is the
    share of positive slices on which the step leaves an ROI of IoU >= `HIT`.

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
    refined
        The refined label of each slice that has one: case, slice, pixels, iou, overlap. It is no
        choice among ROIs, so its row may be better than the one before.
    """
    steps = _steps(rois, label_pixels, target, select, prior, links)
    if refined is not None:
        steps["refined labels"] = (refined, refined)
    rows, before = [], 1.0
    for step, (left, picked) in steps.items():
        dsc = volume_dsc(picked, label_pixels)
        hit = left.loc[left["iou"] >= HIT, ["case", "slice"]].drop_duplicates()
        rows.append(
            (
                step,
                KNOBS[step],
                len(dsc),
                dsc.mean(),
                spread(pd.Series(dsc)),
                before - dsc.mean(),
                len(hit) / positive if positive else np.nan,
                (picked["iou"] >= HIT).mean(),
            )
        )
        before = dsc.mean()
    return pd.DataFrame(rows, columns=ROW_COLUMNS)


def _steps(
    rois: pd.DataFrame,
    label_pixels: Mapping[str, int],
    target: int,
    select: str,
    prior: float,
    links: Mapping[str, Links],
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """The ROIs that each step leaves, and those that the oracle picks of them."""
    valid = rois[rois["valid"]]
    clusters = {int(k): group for k, group in valid.groupby("cluster")}
    oracle = {k: best_of_each_slice(group, label_pixels) for k, group in clusters.items()}
    chosen = {
        k: chosen_of_each_volume(group, select, prior, links) for k, group in clusters.items()
    }

    def best(options: Mapping[int, pd.DataFrame]) -> int | None:
        """The cluster whose picks have the greatest DSC."""
        return max(options, key=lambda k: volume_dsc(options[k], label_pixels).mean(), default=None)

    none = valid[:0]
    cluster = best(oracle)
    best_choice, choice = chosen.get(best(chosen), none), chosen.get(target, none)
    return {
        "everything mode": (rois, best_of_each_slice(rois, label_pixels)),
        "shape priors": (valid, best_of_each_slice(valid, label_pixels)),
        "clusters": (clusters.get(cluster, none), oracle.get(cluster, none)),
        "ROI of a slice": (best_choice, best_choice),
        "target cluster": (choice, choice),
    }


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
