"""Eq. 5: which ROIs become the pseudo-label of a volume."""

from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umsam.data.masks import SliceMasks, slice_file, write_slice_masks
from umsam.pseudo_labels.pseudo_labels import (
    ORDERS,
    SELECTIONS,
    choose,
    pairwise_iou,
    read_links,
    target_rois,
)

ROIS = pd.DataFrame(
    {
        "slice": [1, 1, 1, 0],
        "index": [4, 1, 2, 7],
        "distance": [0.1, 0.9, 0.5, 2.0],
        "pixels": [10, 40, 20, 1],
        "predicted_iou": [0.5, 0.6, 0.9, 0.1],
        "attribute": [2.0, 0.9, 0.7, 9.0],
    }
)
EXPECTED = {
    "nearest_centroid": [4],
    "largest": [1],
    "best_iou": [2],
    "nearest_attribute": [1],
    "continuous": [2],
    "union": [1, 2, 4],
}
LINKS = {0: pd.DataFrame([[0.2, 0.9, 0.1]], [7], [1, 2, 4])}


def places(rois):
    return rois[["slice", "index"]].to_numpy().tolist()


@pytest.mark.parametrize("select", SELECTIONS)
def test_the_choice_on_each_slice(select):
    expected = [[0, 7], *([1, index] for index in EXPECTED[select])]
    assert places(choose(ROIS, select, 1.0, LINKS)) == expected


@pytest.mark.parametrize("select", SELECTIONS)
def test_nothing_to_choose_from(select):
    assert choose(ROIS.iloc[:0], select, 1.0, {}).empty


@pytest.mark.parametrize("select", ["continuous", *ORDERS])
def test_of_equal_ones_the_lowest_index(select):
    equal = ROIS.assign(distance=1.0, pixels=5, predicted_iou=0.5, attribute=1.0)
    links = {0: LINKS[0] * 0 + 0.7}
    assert places(choose(equal, select, 1.0, links)) == [[0, 7], [1, 1]]


def write_slices(folder, slices):
    """Masks files of the slices {z: masks [n, H, W]} and their table."""
    for z, masks in slices.items():
        n = len(masks)
        every = SliceMasks(
            masks, np.ones(n, np.float32), np.ones(n, np.float32),
            np.zeros((n, 4), np.int32), np.zeros((n, 2), np.float32),
        )  # fmt: skip
        write_slice_masks(slice_file(folder, z), every)
    rows = [(z, index) for z, masks in slices.items() for index in range(len(masks))]
    return pd.DataFrame(rows, columns=["slice", "index"])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_the_continuous_run_is_the_best_of_all(tmp_path_factory, seed):
    """By trying every choice on every run of consecutive slices."""
    rng = np.random.default_rng(seed)
    drawn = [z for z in range(6) if rng.random() < 0.85] or [3]
    few = rng.random((6, 7)) < 0.4  # of which each mask differs in some pixels, 7 or 18 of 42
    flips = rng.choice([0.16, 0.42])
    slices = {z: few ^ (rng.random((rng.integers(1, 4), 6, 7)) < flips) for z in drawn}
    folder = tmp_path_factory.mktemp("masks")
    rois = write_slices(folder, slices)
    rois["distance"] = rng.uniform(1, 3, len(rois))
    distance = rois.set_index(["slice", "index"])["distance"]
    links = read_links(folder, rois)
    chosen = choose(rois.sample(frac=1, random_state=seed), "continuous", 0.0, links)

    def total(run):
        ious = [
            (slices[a][i] & slices[b][j]).sum() / (slices[a][i] | slices[b][j]).sum()
            for (a, i), (b, j) in pairwise(run)
        ]
        far = [distance[z, index] / distance.median() for z, index in run]
        return sum(iou - 0.5 for iou in ious) + 0.15 * sum(1 - share for share in far)

    runs = [range(a, b) for a in range(6) for b in range(a + 1, 7) if {*range(a, b)} <= {*drawn}]
    every = [
        list(zip(run, choice, strict=True))
        for run in runs
        for choice in product(*(range(len(slices[z])) for z in run))
    ]
    assert places(chosen) in [[list(place) for place in run] for run in every]
    assert total(places(chosen)) == pytest.approx(max(map(total, every)))


def test_a_continuous_run_ends_where_the_organ_does():
    """A slice that differs within it does not end it; ROIs that never go on do, however many."""
    rois = pd.DataFrame({"slice": range(9), "index": 0, "distance": 2.0})
    ious = [0.2, 0.9, 0.9, 0.4, 0.9, 0.1, 0.3, 0.4]
    links = {z: pd.DataFrame([[iou]]) for z, iou in enumerate(ious)}
    assert choose(rois, "continuous", 0.0, links)["slice"].tolist() == [1, 2, 3, 4, 5]


def test_of_things_that_go_on_alike_the_one_nearest_the_centroid():
    """Two columns of ROIs, the same IoUs along both; in any unit of distance."""
    rois = pd.DataFrame({"slice": [0, 0, 1, 1, 2, 2], "index": [0, 1] * 3})
    links = {z: pd.DataFrame([[0.8, 0.1], [0.1, 0.8]]) for z in (0, 1)}
    for unit in (1.0, 1e-6, 40.0):
        far = rois.assign(distance=unit * np.array([3.0, 2.5, 3.0, 2.9, 2.8, 3.0]))
        assert choose(far, "continuous", 0.0, links)["index"].tolist() == [1, 1, 1]
    assert choose(rois.assign(distance=0.0), "continuous", 0.0, links)["index"].tolist() == [0] * 3


def test_links_know_the_rois_by_their_index(tmp_path):
    masks = np.zeros((3, 4, 4), bool)
    masks[0, :2], masks[1, 1:3], masks[2, 3:] = True, True, True
    rois = write_slices(tmp_path, {2: masks, 3: masks, 5: masks})
    links = read_links(tmp_path, rois[rois["index"] > 0])
    assert list(links) == [2]  # 4 has no ROI
    assert links[2].loc[1].tolist() == [1, 0]
    assert links[2].index.tolist() == links[2].columns.tolist() == [1, 2]


def test_pairwise_iou_in_a_known_case():
    masks = np.zeros((2, 4, 4), bool)
    masks[0, :2] = True
    others = np.zeros((1, 4, 4), bool)
    others[0, 1:] = True
    assert pairwise_iou(masks, others).tolist() == [[4 / 16], [0]]
    assert pairwise_iou(masks, masks[1:]).tolist() == [[0], [0]]


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
