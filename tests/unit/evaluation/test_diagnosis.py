"""The diagnosis on ROIs with known counts, and its invariants."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umsam.evaluation.diagnosis import (
    diagnosis,
    measure_rois,
    measure_slices,
    pick_best_rois,
    volume_dsc,
)

# case, slice, index, pixels, overlap, valid, cluster, distance; the label has 10 pixels per slice
ROIS = [
    ("a", 0, 0, 10, 10, False, None, None),  # perfect, but rejected by the priors
    ("a", 0, 1, 10, 8, True, 0, 1.0),  # best valid ROI
    ("a", 0, 2, 10, 6, True, 0, 0.5),  # nearest to the centroid
    ("a", 1, 0, 10, 9, True, 1, 1.0),
    ("a", 1, 1, 20, 5, True, 0, 1.0),
    ("a", 2, 0, 10, 0, True, 0, 1.0),  # a slice without the target
    ("a", 2, 1, 10, 0, True, 1, 1.0),
]


def table_of(rows):
    names = ["case", "slice", "index", "pixels", "overlap", "valid", "cluster", "distance"]
    rois = pd.DataFrame(rows, columns=names).astype({"cluster": float, "distance": float})
    label_pixels = np.where(rois["slice"] == 2, 0, 10)
    iou = rois["overlap"] / (rois["pixels"] + label_pixels - rois["overlap"])
    return rois.assign(iou=iou, attribute=1.0, predicted_iou=0.5)


@pytest.mark.parametrize("target", [0, 1, 7])
def test_each_row_is_the_result_of_its_oracle(target):
    table = diagnosis(table_of(ROIS), {"a": 20}, 2, target, "nearest_centroid", 1.0, {})
    dsc = table.set_index("step")["dsc_mean"]
    assert dsc["everything mode"] == pytest.approx(2 * (10 + 9) / (20 + 20))
    assert dsc["shape priors"] == pytest.approx(2 * (8 + 9) / (20 + 20))
    # Cluster 0: 8 of 10, better without the 5 of 20. Cluster 1: 9 of 10 on the other slice.
    cluster_dsc = [2 * 8 / (10 + 20), 2 * 9 / (10 + 20)]
    assert dsc["clusters"] == pytest.approx(max(cluster_dsc))
    choice_dsc = [2 * (6 + 5) / (10 + 20 + 10 + 20), 2 * 9 / (10 + 10 + 20), 0]
    assert dsc["ROI of a slice"] == pytest.approx(max(choice_dsc))
    assert dsc["target cluster"] == pytest.approx(choice_dsc[min(target, 2)])
    assert 1 - table["lost"].sum() == pytest.approx(dsc["target cluster"])


def test_recall_and_precision_count_an_iou_of_one_half():
    table = diagnosis(table_of(ROIS), {"a": 20}, 2, 1, "nearest_centroid", 1.0, {})
    last = table.set_index("step").loc["target cluster"]  # 9 / 11 on a slice, and one on an empty
    assert last["recall"] == 0.5
    assert last["precision"] == 0.5


def test_volumes_have_equal_weight_and_a_missing_one_has_dsc_zero():
    rois = table_of([("a", 0, 0, 10, 10, True, 0, 0.0)])
    assert volume_dsc(rois, {"b": 30, "a": 10}).tolist() == [0.0, 1.0]
    table = diagnosis(rois, {"a": 10, "b": 30}, 4, 0, "largest", 1.0, {})
    assert table["dsc_mean"].tolist() == [0.5] * 5
    assert table["dsc_std"].to_numpy() == pytest.approx(np.sqrt(0.5))
    assert table["recall"].tolist() == [0.25] * 5


def test_without_valid_rois_the_dsc_is_zero():
    rois = table_of([("a", 0, 0, 10, 10, False, None, None)])
    table = diagnosis(rois, {"a": 10}, 1, 0, "union", 1.0, {})
    assert table["dsc_mean"].tolist() == [1, 0, 0, 0, 0]
    assert table["precision"].isna().tolist() == [False, True, True, True, True]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["nearest_centroid", "largest", "best_iou"]))
def test_an_oracle_is_never_worse_than_the_step_that_it_replaces(seed, select):
    rng = np.random.default_rng(seed)
    masks = rng.random((3, 2, 6, 8, 8)) < rng.random((3, 2, 6, 1, 1))  # case, slice, ROI
    masks[..., 0, 0] = True
    labels = rng.random((3, 2, 8, 8)) < 0.4
    labels[0, 1] = False
    parts = []
    for case in range(3):
        for z in range(2):
            rois = pd.DataFrame({"case": str(case), "slice": z, "index": range(6)})
            rois["pixels"] = masks[case, z].sum((1, 2))
            rois["predicted_iou"] = rng.random(6)
            rois["valid"] = rng.random(6) < 0.7
            parts.append(measure_rois(masks[case, z], rois, labels[case, z]))
    rois = pd.concat(parts, ignore_index=True)
    rois["cluster"] = rng.integers(3, size=len(rois)).astype(float)
    rois.loc[~rois["valid"], "cluster"] = np.nan
    rois["distance"], rois["attribute"] = rng.random((2, len(rois)))
    pixels = {str(case): int(labels[case].sum()) for case in range(3)}
    table = diagnosis(rois, pixels, int(labels.any((2, 3)).sum()), 1, select, 0.5, {})
    assert (table["lost"] >= -1e-12).all()
    assert ((table["dsc_mean"] >= 0) & (table["dsc_mean"] <= 1)).all()
    recall = table["recall"].to_numpy()
    assert recall[0] >= recall[1] >= recall[2:].max()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_the_oracle_reaches_the_maximum_over_all_choices(seed):
    rng = np.random.default_rng(seed)
    sizes = {"a": (3, 1, 2), "b": (4, 2)}  # ROIs of each slice
    rows, pixels = [], {}
    for case, counts in sizes.items():
        pixels[case] = int(rng.integers(1, 60))
        for z, count in enumerate(counts):
            for index in range(count):
                roi_pixels = int(rng.integers(1, 40))
                overlap = rng.integers(roi_pixels + 1)
                rows.append((case, z, index, roi_pixels, overlap, True, 0, 0.0))
    rois = table_of(rows)
    scores = volume_dsc(pick_best_rois(rois, pixels), pixels)
    for case, dsc in zip(sizes, scores, strict=True):
        slices = [group for _, group in rois[rois["case"] == case].groupby("slice")]
        options = [[None, *group.itertuples()] for group in slices]
        choices = [[roi for roi in picks if roi] for picks in itertools.product(*options)]
        best = max(
            2 * sum(r.overlap for r in picks) / (sum(r.pixels for r in picks) + pixels[case])
            for picks in choices
        )
        assert dsc == pytest.approx(best)


def test_the_refined_labels_have_their_own_row():
    label, mask = np.zeros((2, 3, 4, 4), bool)
    label[1, :2], mask[1, 1:3], mask[2, 0, 0] = True, True, True
    refined = measure_slices("a", mask, label)
    assert refined[["slice", "pixels", "overlap"]].to_numpy().tolist() == [[1, 8, 4], [2, 1, 0]]
    rois = table_of([("a", 1, 0, 10, 4, True, 0, 0.0)])
    table = diagnosis(rois, {"a": 8}, 1, 0, "largest", 1.0, {}, refined)
    last = table.iloc[-1]
    assert last["step"] == "refined labels"
    assert last["dsc_mean"] == pytest.approx(2 * 4 / (9 + 8))
    assert last["recall"] == 0  # 4 / 12
    assert last["precision"] == 0
    measured = measure_rois(mask[1][None], pd.DataFrame({"slice": [1]}), label[1])
    assert refined["iou"].tolist() == [measured["iou"].item(), 0]
    empty = measure_slices("a", np.zeros_like(mask), label)
    assert diagnosis(rois, {"a": 8}, 1, 0, "largest", 1.0, {}, empty)["dsc_mean"].iloc[-1] == 0
