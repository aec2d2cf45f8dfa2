"""The pseudo-label of a slice (eq. 5): its ROI in the target cluster, or nothing."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Each sorts the candidates (rows of `choose`) so that the first one is the choice.
ORDERS: dict[str, Callable[[pd.DataFrame, float], pd.Series]] = {
    "nearest_centroid": lambda rois, prior: rois["distance"],
    "largest": lambda rois, prior: -rois["pixels"],
    "best_iou": lambda rois, prior: -rois["predicted_iou"],
    "nearest_attribute": lambda rois, prior: (rois["attribute"] - prior).abs(),
}
SELECTIONS = ("union", *ORDERS)


def choose(candidates: pd.DataFrame, select: str, prior: float) -> list[int]:
    """Indices of the ROIs that make the pseudo-label of one slice.

    Parameters
    ----------
    candidates
        The slice's ROIs in the target cluster; columns index, distance (to the centroid),
        attribute, pixels, predicted_iou.
    select
        nearest_centroid, union, largest, best_iou (as SAM predicts it) or nearest_attribute (to
        the prior). Equal ones: the lowest index.
    """
    candidates = candidates.sort_values("index")
    if select == "union" or candidates.empty:
        return candidates["index"].tolist()
    order = ORDERS[select](candidates, prior).sort_values(kind="stable").index
    return [int(candidates.loc[order[0], "index"])]


def pseudo_label(
    masks: NDArray[np.bool_], candidates: pd.DataFrame, select: str, prior: float
) -> NDArray[np.uint8]:
    """uint8 [H, W] from the slice's masks [K, H, W]; empty where there is no candidate."""
    chosen = choose(candidates, select, prior)
    return masks[chosen].any(axis=0).astype(np.uint8)


def target_rois(assigned: pd.DataFrame, rois: pd.DataFrame, target: int) -> pd.DataFrame:
    """ROIs of a case in the target cluster, with what `choose` asks for, a row each.

    `assigned` are the case's rows of ``clusters/assignments.csv``, `rois` is its table.
    """
    measured = rois[["slice", "index", "pixels", "predicted_iou"]]
    found = assigned[assigned["cluster"] == target]
    return found.merge(measured, on=["slice", "index"], how="left", validate="one_to_one")
