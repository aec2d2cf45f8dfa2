"""What K-means sees of the features, against scikit-learn."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import normalize

from umsam.pseudo_labels.feature_space import FEW, FeatureSpace, fit_space, read_kmeans, save_kmeans

SETTINGS = {
    "l2_normalise": False,
    "position_weight": 0.0,
    "centre_per_volume": False,
    "pca_components": None,
}


@pytest.fixture
def features():
    """Seven correlated numbers far from 0, of very different variance."""
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(90, 7)) * 10.0 ** np.arange(-3, 4) @ rng.normal(size=(7, 7))
    return 1000 + mixed


def batches(features):
    """In four volumes, one of them without an ROI."""
    return lambda: iter([features[:1], features[1:1], features[1:50], features[50:]])


def distances(rows):
    return np.linalg.norm(rows[:, None] - rows[None], axis=2)


def middle(features):
    return np.full((len(features), 2), 0.5)


def test_as_pooled_is_as_pooled(features):
    space = fit_space(batches(features), SETTINGS)
    assert np.array_equal(space(features, middle(features)), features)


def test_l2_normalised_features_have_length_one(features):
    space = FeatureSpace(l2_normalise=True)
    np.testing.assert_allclose(space(features, middle(features)), normalize(features))
    assert space(np.zeros((0, 6)), np.zeros((0, 2))).shape == (0, 6)


@pytest.mark.parametrize("l2_normalise", [False, True])
def test_across_the_slice_is_position_times_the_length(features, l2_normalise):
    """Of two ROIs that look alike, one at the left edge and one at the right."""
    space = FeatureSpace(l2_normalise, 2.5)
    left, right = (space(features[:1], np.array([[x, 0.7]]))[0] for x in (0.0, 1.0))
    length = 1 if l2_normalise else np.linalg.norm(features[0])
    assert np.linalg.norm(left - right) == pytest.approx(2.5 * length)
    assert not space(features[:1], np.array([[0.5, 0.5]]))[0, -2:].any()


@pytest.mark.parametrize("l2_normalise", [False, True])
@pytest.mark.parametrize("components", [2, 5])
def test_whitened_distances_are_scikit_learns(features, components, l2_normalise):
    """Distances, for the sign of a component means nothing."""
    settings = {**SETTINGS, "pca_components": components, "l2_normalise": l2_normalise}
    space = fit_space(batches(features), settings)
    seen = normalize(features) if l2_normalise else features
    expected = PCA(components, whiten=True, svd_solver="full").fit(seen).transform(seen)
    rows = space(features, middle(features))
    np.testing.assert_allclose(distances(rows), distances(expected), rtol=1e-4, atol=1e-6)


def test_the_place_beside_whitened_features(features):
    """Their root mean square length is the root of their number, whatever the features' unit."""
    space = fit_space(batches(features), {**SETTINGS, "pca_components": 4, "position_weight": 3.0})
    rows = space(features, np.tile([0.0, 1.0], (len(features), 1)))
    assert np.sqrt((rows[:, :4] ** 2).sum(axis=1).mean()) == pytest.approx(2, rel=0.01)
    np.testing.assert_allclose(rows[:, 4:], np.tile([-3.0, 3.0], (len(features), 1)))


@pytest.mark.parametrize("whiten", [None, 3])
def test_what_a_scanner_adds_to_all_features_of_a_volume_does_not_count(features, whiten):
    settings = {**SETTINGS, "centre_per_volume": True, "pca_components": whiten}
    volumes = [features[:40], features[40:]]
    others = [volumes[0] - 300, volumes[1] + 50]
    seen, expected = (
        [space(rows, middle(rows)) for rows in of]
        for of in (volumes, others)
        for space in [fit_space(lambda of=of: of, settings)]
    )
    for rows, same in zip(seen, expected, strict=True):
        np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-8 * np.abs(rows).max())
        np.testing.assert_allclose(distances(rows), distances(same), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [1, FEW - 1, FEW])
def test_few_rois_keep_their_looks_where_features_are_centred(features, count):
    """Less the mean of a volume of one ROI nothing would be left of it."""
    volumes = [features[:30], features[30:32], features[32:]]
    space = fit_space(lambda: volumes, {**SETTINGS, "centre_per_volume": True})
    few = features[40 : 40 + count]
    typical = (volumes[0].mean(axis=0) + volumes[2].mean(axis=0)) / 2
    expected = few - (few.mean(axis=0) if count == FEW else typical)
    np.testing.assert_allclose(space(few, middle(few)), expected)


def test_no_more_components_than_the_features_span():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 9))
    space = fit_space(lambda: [flat], {**SETTINGS, "pca_components": 8})
    rows = space(flat, middle(flat))
    assert rows.shape == (40, 3)
    np.testing.assert_allclose(np.cov(rows.T), np.eye(3), atol=1e-8)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_features_without_variance_stay_as_they_are(count):
    same = np.ones((count, 5))
    space = fit_space(lambda: [same], {**SETTINGS, "pca_components": 4})
    assert np.array_equal(space(same, middle(same)), same)


def test_a_fitted_kmeans_travels_with_its_space(features, tmp_path):
    space = fit_space(
        batches(features),
        {
            **SETTINGS,
            "l2_normalise": True,
            "position_weight": 1.5,
            "centre_per_volume": True,
            "pca_components": 3,
        },
    )
    save_kmeans(tmp_path / "kmeans.npz", features[:2, :5], 7.0, space)
    centroids, read = read_kmeans(tmp_path / "kmeans.npz")
    place = np.random.default_rng(1).random((len(features), 2))
    assert np.array_equal(centroids, features[:2, :5])
    assert np.array_equal(read(features, place), space(features, place))
