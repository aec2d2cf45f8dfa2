"""K-means against scikit-learn, and the knee."""

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans

from umsam.pseudo_labels.assignments import (
    AS_POOLED,
    assign,
    assignments,
    in_order,
    read_roi_features,
)
from umsam.pseudo_labels.clustering import fit, knee, sse_curve
from umsam.pseudo_labels.feature_space import FeatureSpace


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 6)) * 5
    return centres[rng.integers(4, size=90)] + rng.normal(size=(90, 6))


@pytest.mark.parametrize("seed", [0, 7])
def test_equals_scikit_learn(features, seed):
    expected = KMeans(n_clusters=4, n_init=10, random_state=seed).fit(features)
    clusters = fit(features, 4, 10, seed)
    np.testing.assert_allclose(clusters.centroids, expected.cluster_centers_, rtol=1e-10)
    assert clusters.inertia == pytest.approx(expected.inertia_, rel=1e-12)
    labels, distances = assign(features, clusters.centroids)
    np.testing.assert_array_equal(labels, expected.predict(features))
    np.testing.assert_allclose(distances, expected.transform(features).min(axis=1), rtol=1e-6)
    assert (distances**2).sum() == pytest.approx(clusters.inertia)


def test_new_rois_are_assigned_and_change_nothing(features):
    clusters = fit(features[:60], 3, 10, 0)
    labels, _ = assign(features[60:], clusters.centroids)
    brute = [np.argmin([np.linalg.norm(f - c) for c in clusters.centroids]) for f in features[60:]]
    assert labels.tolist() == brute
    assert [len(part) for part in assign(np.zeros((0, 6)), clusters.centroids)] == [0, 0]


def write_features(folder, case, rows):
    n = len(rows)
    slices, index = np.arange(n)[::-1] // 4, np.arange(n)[::-1] % 4
    attributes = {"aspect_ratio": slices + index / 10, "area_mm2": 100.0 * slices}
    attributes |= {"x": np.full(n, 0.5), "y": np.full(n, 0.5)}
    path = folder / f"{case}.npz"
    np.savez(path, features=rows, slice=slices, index=index, **attributes)
    return path


def test_the_order_of_cases_does_not_matter(features, tmp_path):
    parts = {"b": features[:20], "a": features[20:50], "c": features[50:]}
    files = {case: str(write_features(tmp_path, case, rows)) for case, rows in parts.items()}
    assert in_order(list("cab"), [files[case] for case in "cab"]) == [files[c] for c in "abc"]


def test_rois_are_sorted_by_slice_and_index(features, tmp_path):
    rois, rows = read_roi_features(write_features(tmp_path, "a", features[:10]))
    assert rois[["slice", "index"]].to_numpy().tolist() == [[i // 4, i % 4] for i in range(10)]
    np.testing.assert_array_equal(rows, features[:10][::-1])
    _, lengths = read_roi_features(tmp_path / "a.npz", FeatureSpace(l2_normalise=True))
    np.testing.assert_allclose(np.linalg.norm(lengths, axis=1), 1)


def test_assignments_are_of_one_case_after_the_other(features, tmp_path):
    clusters = fit(features, 4, 10, 0)
    parts = {"b": features[:20], "a": features[20:50], "none": features[:0]}
    files = [write_features(tmp_path, case, rows) for case, rows in parts.items()]
    splits = ["train", "test", "val"]
    tables = list(
        assignments(list(parts), splits, files, clusters.centroids, "area_mm2", AS_POOLED)
    )
    assert [len(table) for table in tables] == [30, 20, 0]
    whole = pd.concat(tables)
    assert whole[["case", "split"]].drop_duplicates().to_numpy().tolist() == [
        ["a", "test"],
        ["b", "train"],
    ]
    assert (whole["attribute"] == 100 * whole["slice"]).all()
    rows = np.concatenate([features[20:50][::-1], features[:20][::-1]])
    expected = np.linalg.norm(rows[:, None] - clusters.centroids[None], axis=2)
    np.testing.assert_array_equal(whole["cluster"], expected.argmin(axis=1))
    np.testing.assert_allclose(whole["distance"], expected.min(axis=1))


def test_fewer_rois_than_clusters(features, caplog):
    clusters = fit(features[:3], 8, 10, 0)
    assert clusters.k == 3
    assert clusters.inertia == pytest.approx(0, abs=1e-12)
    assert "clustering.k is 8, but only 3" in caplog.text


def test_nothing_to_cluster():
    with pytest.raises(ValueError, match="no feature"):
        fit(np.zeros((0, 4)), 2, 10, 0)


def test_the_curve_is_scikit_learns_inertia(features):
    curve = sse_curve(features, 2, 6, 10, 0)
    assert curve["k"].tolist() == [2, 3, 4, 5, 6]
    for k, sse in zip(curve["k"], curve["sse"], strict=True):
        expected = KMeans(n_clusters=k, n_init=10, random_state=0).fit(features).inertia_
        assert sse == pytest.approx(expected, rel=1e-12)
    assert knee(curve) == 4
    pd.testing.assert_frame_equal(
        curve, sse_curve(features, 2, 6, 10, 0, threads=3), check_exact=True
    )


@pytest.mark.parametrize(("count", "ks"), [(1, [1]), (2, [2]), (3, [2]), (5, [2, 3, 4])])
def test_the_curve_of_few_rois(features, count, ks):
    curve = sse_curve(features[:count], 2, 20, 10, 0)
    assert curve["k"].tolist() == ks
    assert knee(curve) in ks


@pytest.mark.parametrize(
    ("sse", "expected"),
    [
        ([100, 60, 10, 8, 6], 4),
        ([100, 20, 15, 10, 5], 3),
        ([100, 75, 50, 25, 0], 2),  # a line has no knee: its first K
        ([5, 5, 5, 5, 5], 2),
        ([1e9, 6e8, 1e8, 8e7, 6e7], 4),  # whatever the unit
    ],
)
def test_the_knee(sse, expected):
    assert knee(pd.DataFrame({"k": [2, 3, 4, 5, 6], "sse": sse})) == expected


def test_the_knee_is_furthest_from_the_chord():
    k = np.arange(2, 21)
    sse = 1 / k
    x, y = (k - 2) / 18, (sse - sse[-1]) / (sse[0] - sse[-1])
    distance = np.abs(np.cross([1, -1], np.stack([x, y - 1], axis=1))) / np.sqrt(2)
    assert knee(pd.DataFrame({"k": k, "sse": sse})) == k[distance.argmax()]
