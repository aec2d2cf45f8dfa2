"""Eq. 5: which ROI of a slice becomes its pseudo-label."""

import numpy as np
import pandas as pd
import pytest

from umsam.pseudo_labels.pseudo_labels import SELECTIONS, choose, pseudo_label, target_rois

CANDIDATES = pd.DataFrame(
    {
        "index": [4, 1, 2],
        "distance": [0.1, 0.9, 0.5],
        "pixels": [10, 40, 20],
        "predicted_iou": [0.5, 0.6, 0.9],
        "attribute": [2.0, 0.9, 0.7],
    }
)
EXPECTED = {
    "nearest_centroid": [4],
    "largest": [1],
    "best_iou": [2],
    "nearest_attribute": [1],
    "union": [1, 2, 4],
}


@pytest.fixture
def masks():
    return np.random.default_rng(0).random((5, 8, 9)) < 0.3


@pytest.mark.parametrize("select", SELECTIONS)
def test_the_choice(masks, select):
    assert choose(CANDIDATES, select, prior=1.0) == EXPECTED[select]
    label = pseudo_label(masks, CANDIDATES, select, prior=1.0)
    assert label.dtype == np.uint8
    expected = np.any([masks[index] for index in EXPECTED[select]], axis=0)
    np.testing.assert_array_equal(label, expected)


@pytest.mark.parametrize("select", SELECTIONS)
def test_no_roi_in_the_target_cluster_is_an_empty_slice(masks, select):
    label = pseudo_label(masks, CANDIDATES.iloc[:0], select, prior=1.0)
    assert label.shape == (8, 9)
    assert not label.any()


@pytest.mark.parametrize("select", [name for name in SELECTIONS if name != "union"])
def test_of_equal_ones_the_lowest_index(select):
    equal = CANDIDATES.assign(distance=1.0, pixels=5, predicted_iou=0.5, attribute=1.0)
    assert choose(equal, select, prior=1.0) == [1]


def test_candidates_are_the_rois_in_the_target_cluster():
    assignments = pd.DataFrame(
        {
            "case": ["a", "a", "a"],
            "split": "train",
            "slice": [0, 1, 1],
            "index": [0, 2, 3],
            "cluster": [1, 1, 0],
            "distance": [0.1, 0.2, 0.4],
            "attribute": [1.0, 1.1, 1.3],
        }
    )
    rois = pd.DataFrame(
        {
            "case": "a",
            "slice": [0, 1, 1, 1],
            "index": [0, 1, 2, 3],
            "pixels": [5, 6, 7, 8],
            "predicted_iou": [0.5, 0.6, 0.7, 0.8],
        }
    )
    found = target_rois(assignments, rois, target=1)
    assert found[["slice", "index", "pixels"]].to_numpy().tolist() == [[0, 0, 5], [1, 2, 7]]
    assert target_rois(assignments.iloc[:0], rois.iloc[:0], target=1).empty
    assert target_rois(assignments, rois, target=7).empty
