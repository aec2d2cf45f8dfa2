"""The diagnosis: which step limits the pseudo-labels.

For each step, an oracle that sees the labels replaces all later steps. It takes the best cluster,
and on each slice one ROI or none, so that the DSC of the volume is maximal. The DSC that is lost
from one row to the next is the cost of that step. With one ROI per slice, the DSC of a volume
follows from the numbers of pixels of the ROIs, of the label and of their overlap.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from umsam.data.masks import read_slice_masks, slice_file
from umsam.evaluation.formatting import format_mean_std, format_number, percent_header
from umsam.evaluation.precision import iou_with_label
from umsam.evaluation.statistics import sample_std
from umsam.pseudo_labels.pseudo_labels import Links, choose, read_links
from umsam.pseudo_labels.shape_priors import read_rois

ROW_COLUMNS = ["step", "knob", "n", "dsc_mean", "dsc_std", "lost", "recall", "precision"]
HIT_IOU = 0.5
"""The smallest IoU at which a pseudo-label counts in recall and precision."""

NOTES = (
    "Each row is the DSC of the training volumes if an oracle that sees the labels did all later "
    "steps: it takes the best cluster and the best ROI of each slice. The row of the target "
    "cluster is the DSC of the pseudo-labels.",
    "The largest loss shows which setting to change. Fig. 3b and Table 1 show the effect of "
    "training.",
)
REFINED_NOTE = "Refined labels are learned from the pseudo-labels of the other volumes."

KNOBS = {
    "everything mode": "sam: model, field_of_view, points_per_side, lower thresholds",
    "shape priors": "shape_priors: the bounds (rois/*.csv: rejected_by)",
    "clusters": "clustering: features, k, pca_components, position_weight; dino: model",
    "ROI of a slice": "target.select; clustering.k",
    "target cluster": "target: attribute, prior (figures/clusters.png)",
    "refined labels": "training.label_source",
}


def measure_rois(
    masks: NDArray[np.bool_], rois: pd.DataFrame, label: NDArray[np.bool_]
) -> pd.DataFrame:
    """Add `iou`, and `overlap` (pixels in the label), to the rows of a slice's ROIs.

    Parameters
    ----------
    masks
        [K, H, W].
    rois
        The rows of the slice in ``rois/{case}.csv``, in the order of the masks.
    label
        [H, W].
    """
    return rois.assign(
        iou=iou_with_label(masks, label),
        overlap=np.count_nonzero(masks[:, label], axis=1),
    )


def measure_slices(case: str, mask: NDArray[np.bool_], label: NDArray[np.bool_]) -> pd.DataFrame:
    """Return the same columns for a mask [Z, H, W], one row per slice that is not empty."""
    pixels, overlap = (np.count_nonzero(a, axis=(1, 2)) for a in (mask, mask & label))
    union = pixels + np.count_nonzero(label, axis=(1, 2)) - overlap
    table = pd.DataFrame({"slice": np.arange(len(mask)), "pixels": pixels, "overlap": overlap})
    table = table.assign(iou=overlap / np.maximum(union, 1), case=case)
    return table[table["pixels"] > 0]


def measure_case(
    masks: str | Path, rois: str | Path, label: NDArray[np.bool_], select: str
) -> tuple[pd.DataFrame, Links]:
    """The measured ROIs of a case (`measure_rois`), and their links if `select` needs them.

    `masks` is the folder of its masks, `rois` the table of its ROIs, `label` is [Z, H, W].
    """
    table = read_rois(rois)
    links = read_links(masks, table[table["valid"]]) if select == "continuous" else {}
    slices = [
        measure_rois(read_slice_masks(slice_file(masks, z)).masks, of_slice, label[z])
        for z, of_slice in table.groupby("slice")
    ]
    return pd.concat(slices) if slices else table, links


def pick_best_rois(rois: pd.DataFrame, label_pixels: Mapping[str, int]) -> pd.DataFrame:
    """Pick one ROI or none on each slice so that the DSC of each volume is maximal.

    The DSC is a ratio of sums over slices. At its maximum d, each slice contributes the ROI with
    the greatest 2 overlap - d pixels, or none if this is not positive (Dinkelbach, On nonlinear
    fractional programming, 1967). Starting from 0, d reaches the maximum in a few iterations.

    Parameters
    ----------
    rois
        Measured ROIs (`measure_rois`) of all volumes.
    label_pixels
        Case -> pixels of its label.
    """
    parts = [rois[:0]]
    for case, candidates in rois.groupby("case"):
        dsc, previous_dsc = 0.0, -1.0
        picked = candidates[:0]
        while dsc > previous_dsc:
            gain = 2 * candidates["overlap"] - dsc * candidates["pixels"]
            best = gain.groupby(candidates["slice"]).idxmax()
            picked, previous_dsc = candidates.loc[best[gain[best].to_numpy() > 0]], dsc
            dsc = float(volume_dsc(picked, {str(case): label_pixels[str(case)]})[0])
        parts.append(picked)
    return pd.concat(parts)


def choose_rois(
    rois: pd.DataFrame, select: str, prior: float, links: Mapping[str, Links]
) -> pd.DataFrame:
    """Choose the ROIs of each volume as eq. 5 does (`choose`)."""
    parts = [
        choose(group, select, prior, links.get(str(case), {}))
        for case, group in rois.groupby("case")
    ]
    return pd.concat(parts) if parts else rois


def volume_dsc(picked: pd.DataFrame, label_pixels: Mapping[str, int]) -> NDArray[np.float64]:
    """Compute the DSC of each case in `label_pixels` from disjoint ROIs; 1 if both are empty."""
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
    """Compute the table of the diagnosis, with one row (`ROW_COLUMNS`) per step.

    DSC and precision refer to the ROIs that the oracle picks from the output of the step. Recall is
    the fraction of positive slices on which this output holds an ROI of IoU >= `HIT_IOU`.

    Parameters
    ----------
    rois
        All ROIs of the labelled volumes: case, slice, index, pixels, predicted_iou, valid, iou,
        overlap. Valid ROIs also have cluster, distance and attribute; the others have NaN there.
    label_pixels
        Case -> pixels of its label; the DSC is averaged over these cases.
    positive
        Number of slices with the target.
    target
        The chosen cluster.
    select, prior
        See `choose`. The ROIs of `union` are treated as disjoint.
    links
        Case -> links of its valid ROIs, see `choose`.
    refined
        The rows of `measure_slices` for the refined labels. They are not chosen among the ROIs, so
        their row may be better than the one before.
    """
    steps = _steps(rois, label_pixels, target, select, prior, links)
    if refined is not None:
        steps["refined labels"] = (refined, refined)
    rows, previous_dsc = [], 1.0
    for step, (output, picked) in steps.items():
        dsc = volume_dsc(picked, label_pixels)
        hits = output.loc[output["iou"] >= HIT_IOU, ["case", "slice"]].drop_duplicates()
        rows.append(
            (
                step,
                KNOBS[step],
                len(dsc),
                dsc.mean(),
                sample_std(pd.Series(dsc)),
                previous_dsc - dsc.mean(),
                len(hits) / positive if positive else np.nan,
                (picked["iou"] >= HIT_IOU).mean(),
            )
        )
        previous_dsc = dsc.mean()
    return pd.DataFrame(rows, columns=ROW_COLUMNS)


def _steps(
    rois: pd.DataFrame,
    label_pixels: Mapping[str, int],
    target: int,
    select: str,
    prior: float,
    links: Mapping[str, Links],
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Return the output of each step, and the ROIs that the oracle picks from it."""
    valid = rois[rois["valid"]]
    clusters = {int(k): group for k, group in valid.groupby("cluster")}
    oracle = {k: pick_best_rois(group, label_pixels) for k, group in clusters.items()}
    chosen = {k: choose_rois(group, select, prior, links) for k, group in clusters.items()}

    def best(options: Mapping[int, pd.DataFrame]) -> int:
        """Return the cluster whose ROIs have the greatest mean DSC; -1 if there is none."""
        return max(options, key=lambda k: volume_dsc(options[k], label_pixels).mean(), default=-1)

    none = valid[:0]
    cluster = best(oracle)
    best_choice, choice = chosen.get(best(chosen), none), chosen.get(target, none)
    return {
        "everything mode": (rois, pick_best_rois(rois, label_pixels)),
        "shape priors": (valid, pick_best_rois(valid, label_pixels)),
        "clusters": (clusters.get(cluster, none), oracle.get(cluster, none)),
        "ROI of a slice": (best_choice, best_choice),
        "target cluster": (choice, choice),
    }


def format_diagnosis(table: pd.DataFrame, style: str) -> tuple[list[str], list[list[str]]]:
    """Format header and cells of the diagnosis in the style ``md`` or ``tex``."""
    header = ["up to", percent_header("DSC", style), percent_header("lost", style)]
    header += ["recall", "precision", "knob"]
    cells = [
        [
            row["step"],
            format_mean_std(row["dsc_mean"], row["dsc_std"], style, 100),
            format_number(100 * row["lost"], 1),
            format_number(row["recall"]),
            format_number(row["precision"]),
            row["knob"],
        ]
        for row in table.to_dict("records")
    ]
    return header, cells
