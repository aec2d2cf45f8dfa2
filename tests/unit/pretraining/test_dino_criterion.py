"""The figure of merit: perfect, useless and worst features get the scores they must get."""

import numpy as np
import pytest
import torch

from umsam.models.compact_dino import build_compact_dino
from umsam.pretraining.dino_criterion import (
    TISSUES,
    cluster_purity,
    patch_features,
    retrieval_accuracy,
    tissue_images,
)


def test_one_hot_features_are_perfect():
    tissue = np.repeat(np.arange(8), 6)
    image = np.tile(np.arange(6), 8)
    features = np.eye(8)[tissue]
    assert retrieval_accuracy(features, tissue, image) == 1
    assert cluster_purity(features, tissue) == 1


def test_rois_of_the_same_image_are_not_retrieved():
    features = np.array([[0.0], [0.1], [5.0], [5.1]])
    tissue = np.array([0, 0, 1, 1])
    image = np.array([0, 0, 1, 1])
    assert retrieval_accuracy(features, tissue, image) == 0


def test_random_features_score_near_chance():
    rng = np.random.default_rng(0)
    tissue, image = rng.integers(8, size=800), np.arange(800)
    accuracy = retrieval_accuracy(rng.normal(size=(800, 5)), tissue, image)
    assert accuracy == pytest.approx(1 / 8, abs=0.04)


def test_images_depend_on_the_seed_and_their_rois_are_disjoint():
    images = tissue_images(3, seed=0, size=96)
    for item, same in zip(images, tissue_images(3, seed=0, size=96), strict=True):
        np.testing.assert_array_equal(item.image, same.image)
        assert item.masks.sum(0).max() <= 1
        assert len(item.masks) == len(item.tissue)
        assert (item.tissue < len(TISSUES)).all()
    rois = sum(len(item.masks) for item in images)
    torch.manual_seed(0)
    assert patch_features(build_compact_dino(None), images).shape == (rois, 192)
