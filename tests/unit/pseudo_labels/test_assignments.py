"""The features of ROIs as K-means sees them, and their clusters, against numpy."""

import numpy as np
import pandas as pd
import pytest

from umsam.errors import InputError
from umsam.pseudo_labels.assignments import (
    AS_POOLED,
    assign_rois,
    read_features,
    roi_files,
    training_features,
)
from umsam.pseudo_labels.feature_space import FeatureSpace
from umsam.pseudo_labels.roi_features import write_roi_features
from umsam.pseudo_labels.shape_priors import ROI_TYPES

CENTROIDS = np.random.default_rng(5).normal(size=(4, 6))


def write_case(folder, case, count, seed=0):
    """A table of ROIs, every third of which is not valid, and features of the valid ones."""
    rng = np.random.default_rng(seed)
    rois = pd.DataFrame({name: np.zeros(count, kind) for name, kind in ROI_TYPES.items()})
    rois["case"], rois["rejected_by"] = case, ""
    rois["slice"], rois["index"] = np.arange(count) // 4, np.arange(count) % 4
    rois["valid"] = np.arange(count) % 3 > 0
    for name in ("aspect_ratio", "area_mm2", "x", "y"):
        rois[name] = rng.random(count)
    rois.sample(frac=1, random_state=seed).to_csv(folder / f"{case}.csv", index=False)
    valid = rois[rois["valid"]]
    features = rng.normal(size=(len(valid), 6)).astype("f4")
    write_roi_features(folder / f"{case}.npz", valid, features)
    return valid, features


def files_of(folder, *cases):
    return roi_files(
        cases,
        [folder / f"{case}.npz" for case in cases],
        [folder / f"{case}.csv" for case in cases],
    )


def test_files_are_sorted_by_case(tmp_path):
    files = files_of(tmp_path, "c", "a", "b")
    assert [file.case for file in files] == ["a", "b", "c"]
    assert [file.features.name for file in files] == ["a.npz", "b.npz", "c.npz"]
    assert [file.rois.name for file in files] == ["a.csv", "b.csv", "c.csv"]


def test_features_are_those_of_the_space(tmp_path):
    rois, features = write_case(tmp_path, "a", 10)
    (files,) = files_of(tmp_path, "a")
    np.testing.assert_array_equal(read_features(files), features)
    scaled = read_features(files, FeatureSpace(l2_normalise=True))
    np.testing.assert_allclose(np.linalg.norm(scaled, axis=1), 1)
    placed = read_features(files, FeatureSpace(l2_normalise=True, position_weight=2.0))
    np.testing.assert_allclose(placed[:, 6:], 2 * (rois[["x", "y"]].to_numpy() - 0.5))


def test_each_roi_is_in_the_nearest_cluster(tmp_path):
    made = {case: write_case(tmp_path, case, n, n) for case, n in {"b": 20, "a": 30}.items()}
    write_case(tmp_path, "none", 0)
    splits = {"b": "train", "a": "test", "none": "val"}
    files = files_of(tmp_path, *splits)
    tables = list(assign_rois(files, CENTROIDS, AS_POOLED, "area_mm2", splits))
    assert [len(table) for table in tables] == [20, 13, 0]
    for case, table in zip("ab", tables, strict=False):
        rois, features = made[case]
        assert table[["case", "split"]].drop_duplicates().to_numpy().tolist() == [
            [case, splits[case]]
        ]
        np.testing.assert_array_equal(table["attribute"], rois["area_mm2"])
        np.testing.assert_array_equal(table[["slice", "index"]], rois[["slice", "index"]])
        expected = np.linalg.norm(features[:, None] - CENTROIDS[None], axis=2)
        np.testing.assert_array_equal(table["cluster"], expected.argmin(axis=1))
        np.testing.assert_allclose(table["distance"], expected.min(axis=1))


def test_features_of_other_rois_are_refused(tmp_path):
    write_case(tmp_path, "a", 10)
    table = pd.read_csv(tmp_path / "a.csv")
    table["valid"] = ~table["valid"]
    table.to_csv(tmp_path / "a.csv", index=False)
    files = files_of(tmp_path, "a")
    with pytest.raises(InputError, match=r"a\.npz: its 6 features do not match the 4 valid ROIs"):
        next(assign_rois(files, CENTROIDS, AS_POOLED, "area_mm2"))
    with pytest.raises(InputError, match="run the workflow again"):
        read_features(files[0], FeatureSpace(position_weight=1.0))


def test_without_a_valid_roi_the_prior_to_relax_is_named(tmp_path):
    for case in ("a", "b"):
        write_case(tmp_path, case, 1)
        table = pd.read_csv(tmp_path / f"{case}.csv")
        table["rejected_by"] = "v_min"
        table.to_csv(tmp_path / f"{case}.csv", index=False)
    settings = {"l2_normalise": False, "position_weight": 0, "centre_per_volume": False}
    with pytest.raises(InputError, match=r"none of the 2 ROIs of 2 training.*v_min rejects most"):
        training_features(files_of(tmp_path, "a", "b"), {**settings, "pca_components": None})
