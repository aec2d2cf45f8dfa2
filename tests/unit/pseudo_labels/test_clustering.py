"""K-means against scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans

from umsam.pseudo_labels.assignments import assign
from umsam.pseudo_labels.clustering import fit, sse_curve
from umsam.pseudo_labels.knee import knee


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
