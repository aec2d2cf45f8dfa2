"""The features of the ROIs as K-means sees them, and the cluster of each ROI.

This module avoids scikit-learn, because importing it takes longer than assigning a volume.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from umsam.errors import InputError
from umsam.pseudo_labels.feature_space import Batches, FeatureSpace, fit_space
from umsam.pseudo_labels.roi_features import read_roi_features
from umsam.pseudo_labels.shape_priors import read_rois, read_valid_rois, rejections

ASSIGNMENT_COLUMNS = ["case", "split", "slice", "index", "cluster", "distance", "attribute"]
AS_POOLED = FeatureSpace()


class RoiFiles(NamedTuple):
    """The files on the ROIs of a case: their pooled features and their table."""

    case: str
    features: str | Path
    rois: str | Path


def roi_files(
    cases: Sequence[str], features: Sequence[str | Path], rois: Sequence[str | Path]
) -> list[RoiFiles]:
    """The files of each case, sorted by case: no fit depends on the order of the sample sheet."""
    return sorted(RoiFiles(*files) for files in zip(cases, features, rois, strict=True))


def assign(
    features: NDArray[np.float64], centroids: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest of the centroids [K, D] to each feature and the distance to it, both [N]."""
    if not len(features):
        return np.zeros(0, np.int64), np.zeros(0)
    distances = cdist(features, centroids)
    return distances.argmin(axis=1), distances.min(axis=1)


def read_features(files: RoiFiles, space: FeatureSpace = AS_POOLED) -> NDArray[np.float64]:
    """Features [N, d] of the valid ROIs of a case as K-means sees them, by slice and index."""
    pooled, keys = read_roi_features(files.features)
    if not space.position_weight:
        return space(pooled, np.zeros((len(pooled), 2)))
    return space(pooled, _read_matching_rois(files, keys)[["x", "y"]].to_numpy())


def _read_matching_rois(files: RoiFiles, keys: NDArray[np.int64]) -> pd.DataFrame:
    """The valid ROIs of a case, which must be those with features: slice and index are `keys`."""
    rois = read_valid_rois(files.rois)
    if not np.array_equal(rois[["slice", "index"]].to_numpy(), keys):
        raise InputError(
            f"{files.features}: its {len(keys)} features do not match the {len(rois)} valid ROIs "
            f"of {files.rois}. Delete it and run the workflow again."
        )
    return rois


def training_features(
    files: Sequence[RoiFiles], settings: Mapping[str, Any]
) -> tuple[FeatureSpace, Batches]:
    """The space fitted to the training cases (`fit_space`), and their features in it.

    Raises
    ------
    InputError
        No ROI of any case is valid: says which shape prior rejects most of them.
    """
    if not any(len(read_roi_features(case.features)[0]) for case in files):
        rois = pd.concat([read_rois(case.rois) for case in files], ignore_index=True)
        raise InputError(
            f"none of the {len(rois)} ROIs of {len(files)} training volume(s) is valid, so there "
            f"is nothing to cluster: {rejections(rois)}."
        )
    space = fit_space(lambda: (read_features(case) for case in files), settings)
    return space, lambda: (read_features(case, space) for case in files)


def assign_rois(
    files: Sequence[RoiFiles],
    centroids: NDArray[np.float64],
    space: FeatureSpace,
    attribute: str,
    splits: Mapping[str, str] | None = None,
) -> Iterator[pd.DataFrame]:
    """Yield, case by case, the cluster of each valid ROI (`ASSIGNMENT_COLUMNS`).

    Parameters
    ----------
    files
        From `roi_files`.
    centroids
        [K, d], in the space.
    space
        The space of the K-means.
    attribute
        The column of the ROI table that becomes the column attribute.
    splits
        Case -> its split; None: the column is empty.
    """
    for case in files:
        pooled, keys = read_roi_features(case.features)
        rois = _read_matching_rois(case, keys)
        cluster, distance = assign(space(pooled, rois[["x", "y"]].to_numpy()), centroids)
        yield rois.rename(columns={attribute: "attribute"}).assign(
            case=case.case,
            split=splits[case.case] if splits else "",
            cluster=cluster,
            distance=distance,
        )[ASSIGNMENT_COLUMNS]
