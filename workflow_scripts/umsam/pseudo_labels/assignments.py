"""The features of the ROIs as K-means sees them, and the cluster of each ROI.

This module does without scikit-learn, whose import takes longer than the assignments of a volume.
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
    """What is known of the ROIs of a case: their pooled features and their table."""

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
    pooled = read_roi_features(files.features)
    place = np.zeros((len(pooled), 2))
    if space.position_weight:
        place = read_valid_rois(files.rois)[["x", "y"]].to_numpy()
        check_rows(files, len(place), len(pooled))
    return space(pooled, place)


def training_features(
    files: Sequence[RoiFiles], settings: Mapping[str, Any]
) -> tuple[FeatureSpace, Batches]:
    """The space fitted to the training cases (`fit_space`), and their features in it.

    Raises
    ------
    InputError
        No ROI of any case is valid: says which shape prior rejects most of them.
    """
    if not any(len(read_roi_features(case.features)) for case in files):
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
    """For one case after another, the cluster of each valid ROI (`ASSIGNMENT_COLUMNS`).

    Parameters
    ----------
    centroids
        [K, d], in the space.
    attribute
        The column of the ROI table that becomes the column attribute.
    splits
        Case -> its split; None: the column is empty.
    """
    for case in files:
        rois = read_valid_rois(case.rois)
        features = read_features(case, space)
        check_rows(case, len(rois), len(features))
        cluster, distance = assign(features, centroids)
        yield rois.rename(columns={attribute: "attribute"}).assign(
            case=case.case,
            split=splits[case.case] if splits else "",
            cluster=cluster,
            distance=distance,
        )[ASSIGNMENT_COLUMNS]


def check_rows(files: RoiFiles, rois: int, features: int) -> None:
    """Raise an `InputError` if the features of a case are not those of its ROI table."""
    if rois != features:
        raise InputError(
            f"{files.features}: holds features of {features} ROIs, but {files.rois} has {rois} valid "
            f"ones. Delete {files.features}, so that it is made again."
        )
