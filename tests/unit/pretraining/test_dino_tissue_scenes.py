"""Pairs of images of the same tissues: same textures, other layouts and other fields."""

import numpy as np
import pytest

from umsam.pretraining.tissue_scenes import random_texture, tissue_pair


@pytest.mark.parametrize("seed", range(5))
def test_both_images_show_the_same_tissues_at_other_places(seed):
    images, tissues = tissue_pair(seed, size=96)
    assert images.shape == tissues.shape == (2, 96, 96)
    assert images.min() >= 0
    assert images.max() <= 1
    assert (np.unique(tissues[0]) == np.arange(tissues[0].max() + 1)).mean() > 0.5
    assert not np.array_equal(tissues[0], tissues[1])
    np.testing.assert_array_equal(images, tissue_pair(seed, size=96)[0])


def test_two_fields_of_a_texture_have_the_same_roughness_and_are_not_correlated():
    """The relative gradient is a property of the texture, the field itself is not."""
    rng = np.random.default_rng(0)

    def roughness(field):
        return np.log(np.abs(np.diff(field, axis=0)).mean() / field.std())

    textures = [random_texture(rng, 96) for _ in range(30)]
    first, second = (np.array([roughness(t(rng, 96)) for t in textures]) for _ in range(2))
    assert np.corrcoef(first, second)[0, 1] > 0.8
    field, other = (textures[0](rng, 96) for _ in range(2))
    assert abs(np.corrcoef(field.ravel(), other.ravel())[0, 1]) < 0.5
