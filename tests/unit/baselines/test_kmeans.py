"""K-means methods: agreement with scikit-learn, choice of the cluster, geometry of patches."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from umsam.baselines.kmeans import best_cluster, cluster, cluster_feature_maps, cluster_intensity
from umsam.evaluation.dice import dice


def test_intensity_equals_scikit_learn():
    volume = np.random.default_rng(0).random((4, 12, 10)).astype(np.float32)
    direct = KMeans(n_clusters=5, n_init=3, random_state=7).fit(volume.reshape(-1, 1))
    ours = cluster_intensity(volume, 5, 3, 7)
    assert np.array_equal(ours, direct.labels_.reshape(volume.shape))


def test_after_a_fit_on_a_sample_all_features_are_assigned():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    truth = rng.integers(0, 3, 3000)
    features = centres[truth] + rng.normal(size=(3000, 2))
    clusters = cluster(features, 3, 4, 0, largest_fit=200)
    assert len(clusters) == 3000
    pairs = {(int(a), int(b)) for a, b in zip(truth, clusters, strict=True)}
    assert len(pairs) == 3  # one cluster per blob
    assert np.array_equal(clusters, cluster(features, 3, 4, 0, largest_fit=200))


@pytest.mark.parametrize("seed", range(5))
def test_the_best_cluster_equals_that_of_brute_force(seed):
    rng = np.random.default_rng(seed)
    clusters = rng.integers(0, 6, (5, 9, 9))
    label = (clusters == rng.integers(0, 6)) ^ (rng.random(clusters.shape) < 0.3)
    scores = [dice(clusters == index, label) for index in range(6)]
    assert best_cluster(clusters, label, 6) == int(np.argmax(scores))


def test_the_best_cluster_has_the_largest_dice_and_not_the_largest_overlap():
    """A compact cluster is better than one that overlaps more but also covers the background."""
    clusters = np.zeros((1, 10, 10), int)
    clusters[0, 4:6, 4:6] = 1
    label = np.zeros((1, 10, 10), bool)
    label[0, 4:7, 4:7] = True  # 5 of its 9 pixels are in cluster 0, 4 in cluster 1
    assert best_cluster(clusters, label, 2) == 1


def test_pixels_have_the_cluster_of_their_patch():
    """The halves differ in their features; 3 x 4 patches cover a slice of 12 x 16 pixels."""
    maps = np.zeros((2, 5, 3, 4))
    maps[:, :, :, 2:] = 1.0
    maps[1] = 1 - maps[1]
    clusters = cluster_feature_maps(maps, (2, 12, 16), 2, 2, 0)
    assert clusters.shape == (2, 12, 16)
    left = clusters[0, 0, 0]
    assert (clusters[0, :, :8] == left).all()
    assert (clusters[0, :, 8:] != left).all()
    assert (clusters[1, :, 8:] == left).all()


def test_the_patch_grid_covers_slices_of_any_size():
    maps = np.arange(3.0).reshape(1, 1, 3, 1)
    clusters = cluster_feature_maps(maps, (1, 10, 7), 3, 1, 0)
    sizes = np.unique(clusters[0, :, 0], return_counts=True)[1]
    assert sorted(sizes) == [3, 3, 4]


def test_fewer_samples_than_clusters_are_refused():
    with pytest.raises(ValueError, match="at least 4 samples for 4 clusters, not 3"):
        cluster(np.zeros((3, 1)), 4, 1, 0)
