"""K-means that reads its features batch by batch, against scikit-learn on all of them at once."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from umsam.pseudo_labels.clustering import fit
from umsam.pseudo_labels.streamed_kmeans import fit_streamed, lloyd, sample

SIZES = [120, 1, 0, 300, 79]


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 6)) * 1.5
    return centres[rng.integers(5, size=sum(SIZES))] + rng.normal(size=(sum(SIZES), 6))


@pytest.fixture(scope="module")
def batches(features):
    return lambda: np.split(features, np.cumsum(SIZES)[:-1])


@pytest.mark.parametrize("passes", [1, 2, 40])
def test_passes_are_the_iterations_of_scikit_learn(features, batches, passes):
    start = features[[0, 50, 200, 333]]
    found = lloyd(batches, start, 0.0, passes)
    peer = KMeans(4, init=start, n_init=1, max_iter=passes, tol=0, algorithm="lloyd")
    np.testing.assert_allclose(found.centroids, peer.fit(features).cluster_centers_, rtol=1e-9)
    assert found.inertia == pytest.approx(-peer.score(features), rel=1e-9)


def test_a_pass_never_raises_the_sum_of_squared_errors(features, batches):
    errors = [lloyd(batches, features[:5], 0.0, passes).inertia for passes in range(1, 12)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0]


def test_a_centroid_without_features_stays(features, batches):
    start = np.vstack([features[:3], np.full((1, 6), 1e6)])
    found = lloyd(batches, start, 0.0, 5)
    np.testing.assert_array_equal(found.centroids[3], start[3])
    peer = KMeans(3, init=start[:3], n_init=1, max_iter=5, tol=0).fit(features)
    np.testing.assert_allclose(found.centroids[:3], peer.cluster_centers_, rtol=1e-9)


def test_what_fits_into_memory_is_ordinary_kmeans(features, batches):
    for max_rois in (None, len(features)):
        found, expected = fit_streamed(batches, 5, 3, 1, max_rois), fit(features, 5, 3, 1)
        np.testing.assert_array_equal(found.centroids, expected.centroids)
        assert found.inertia == expected.inertia


def test_from_a_sample_the_same_clusters(features, batches):
    """A local optimum of all features, and on clusters as clear as these the best one."""
    found, expected = fit_streamed(batches, 5, 5, 1, 100), fit(features, 5, 10, 1)
    assert found.inertia == pytest.approx(expected.inertia, rel=1e-3)
    again = KMeans(5, init=found.centroids, n_init=1).fit(features)
    assert again.inertia_ == pytest.approx(found.inertia, rel=1e-3)


def test_a_sample_is_a_seeded_subset_in_order(features, batches):
    everything, count = sample(batches, len(features), 0)
    assert count == len(features)
    np.testing.assert_array_equal(everything, features)
    drawn, count = sample(batches, 60, 0)
    assert (len(drawn), count) == (60, len(features))
    positions = [int(np.flatnonzero((features == row).all(axis=1))[0]) for row in drawn]
    assert positions == sorted(set(positions))
    np.testing.assert_array_equal(drawn, sample(batches, 60, 0)[0])
    assert not np.array_equal(drawn, sample(batches, 60, 1)[0])


def test_every_row_is_drawn_equally_often():
    rows = np.arange(40.0).reshape(-1, 1)
    draws = [sample(lambda: np.split(rows, [3, 20]), 10, seed)[0] for seed in range(2000)]
    times = np.bincount(np.concatenate(draws).astype(int).ravel(), minlength=40)
    assert times.sum() == 20000
    # 500 each; the standard deviation is sqrt(2000 * 1/4 * 3/4) = 19.4
    assert np.abs(times - 500).max() < 5 * 19.4


def test_nothing_to_cluster():
    with pytest.raises(ValueError, match="no feature"):
        fit_streamed(lambda: [np.zeros((0, 3))], 2, 1, 0, 10)
