"""Features of the ROIs as K-means sees them, and the cluster that each ROI falls in.

Without scikit-learn, whose import costs more than a volume's assignments.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from umsam.pseudo_labels.feature_space import Batches, FeatureSpace, fit_space

ASSIGNMENT_COLUMNS = [
    "case",
    "split",
    "slice",
    "index",
    "cluster",
    "distance",
    "attribute",
]
ROI_FEATURE_COLUMNS = ["slice", "index", "aspect_ratio", "area_mm2", "x", "y"]
AS_POOLED = FeatureSpace()


def assign(
    features: NDArray[np.float64], centroids: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest of the centroids [K, D] to each feature and the distance to it, both [N]."""
    if not len(features):
        return np.zeros(0, np.int64), np.zeros(0)
    distances = cdist(features, centroids)
    return distances.argmin(axis=1), distances.min(axis=1)


def read_roi_features(
    path: str | Path, space: FeatureSpace = AS_POOLED
) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """The valid ROIs of a case, by slice and index, and their features as K-means sees them.

    Columns slice, index and the attributes that the target can be chosen by.
    """
    with np.load(path, allow_pickle=False) as file:
        table = pd.DataFrame({name: file[name] for name in ROI_FEATURE_COLUMNS})
        features = space(file["features"], table[["x", "y"]].to_numpy())
    order = table.sort_values(["slice", "index"]).index.to_numpy()
    return table.iloc[order].reset_index(drop=True), features[order]


def in_order(cases: Sequence[str], files: Sequence[str]) -> list[str]:
    """Files sorted by case: a fit does not depend on the order of the sample sheet."""
    return [file for _, file in sorted(zip(cases, files, strict=True))]


def training_features(
    cases: Sequence[str], files: Sequence[str], settings: Mapping[str, Any]
) -> tuple[FeatureSpace, Batches]:
    """The space fitted on the training cases (`fit_space`), and their features in it."""
    ordered = in_order(cases, files)
    space = fit_space(lambda: (read_roi_features(file)[1] for file in ordered), settings)
    return space, lambda: (read_roi_features(file, space)[1] for file in ordered)


def assignments(
    cases: Sequence[str],
    splits: Sequence[str],
    files: Sequence[str],
    centroids: NDArray[np.float64],
    attribute: str,
    space: FeatureSpace,
) -> Iterator[pd.DataFrame]:
    """For one case after the other the cluster of each valid ROI (`ASSIGNMENT_COLUMNS`)."""
    for case, split, path in sorted(zip(cases, splits, files, strict=True)):
        rois, features = read_roi_features(path, space)
        cluster, distance = assign(features, centroids)
        yield rois.rename(columns={attribute: "attribute"}).assign(
            case=case, split=split, cluster=cluster, distance=distance
        )[ASSIGNMENT_COLUMNS]
