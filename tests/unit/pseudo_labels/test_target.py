"""The target cluster on hand-made cases."""

import logging

import numpy as np
import pandas as pd
import pytest
from test_pseudo_labels import write_slices

from umsam.pseudo_labels.assignments import assign
from umsam.pseudo_labels.clustering import fit, sse_curve
from umsam.pseudo_labels.target import (
    choose_target,
    mean_continuity,
    near_prior,
    target_record,
)


def chosen(clusters, attributes, k, *arguments, **named):
    """The target among ROIs given one by one."""
    counts = np.bincount(clusters, minlength=k)
    sums = np.bincount(clusters, weights=attributes, minlength=k)
    return choose_target(counts, sums, *arguments, **named)


def test_the_target_is_nearest_the_prior(caplog):
    clusters = np.array([0, 0, 1, 1, 2])
    attributes = np.array([2.0, 2.2, 1.0, 1.2, 0.3])
    target = chosen(clusters, attributes, 3, prior=1.0, near_tie=0.1)
    assert target.cluster == 1
    assert target.means == pytest.approx([2.1, 1.1, 0.3])
    assert target.counts == [2, 2, 1]
    assert target.near_tie is None
    assert not caplog.records


def test_single_rois_may_be_nearer_than_the_mean_that_counts():
    clusters = np.array([0, 0, 1, 1])
    attributes = np.array([1.0, 3.0, 1.2, 1.2])
    assert chosen(clusters, attributes, 2, prior=1.0, near_tie=0.0).cluster == 1


@pytest.mark.parametrize(("other", "tied"), [(1.19, True), (0.81, True), (1.25, False)])
def test_a_near_tie_is_warned_of(caplog, other, tied):
    with caplog.at_level(logging.WARNING):
        target = chosen(
            np.array([0, 1]),
            np.array([1.1, other]),
            2,
            prior=1.0,
            near_tie=0.1,
            name="aspect_ratio",
        )
    assert target.cluster == 0
    assert target.near_tie == (1 if tied else None)
    assert ("cluster 0 (mean aspect_ratio 1.1" in caplog.text) == tied
    assert (f"cluster 1 ({other:.4g}" in caplog.text) == tied


def test_an_empty_cluster_is_never_the_target():
    target = chosen(np.array([0, 0, 2]), np.array([5.0, 5.0, 9.0]), 3, 1.0, 0.1)
    assert target.cluster == 0
    assert target.means[1] is None


@pytest.mark.parametrize(
    ("near_tie", "expected"), [(0.0, [1]), (0.1, [1, 3]), (0.25, [1, 3, 0]), (9.0, [1, 3, 0, 4])]
)
def test_clusters_near_the_prior_nearest_first(near_tie, expected):
    counts, means = np.array([2, 3, 0, 4, 1]), np.array([0.7, 1.1, 0.0, 0.85, 5.0])
    assert near_prior(counts, counts * means, 1.0, near_tie) == expected


def test_of_a_near_tie_the_steadiest_is_taken(caplog):
    """Cluster 3 is far from the prior, and so its continuity is not asked for."""
    counts, means = np.array([2, 3, 4, 1]), np.array([1.3, 1.1, 0.8, 5.0])
    continuity = {1: 0.4, 2: 0.7, 0: 0.6}
    target = choose_target(counts, counts * means, 1.0, 0.25, "area_mm2", continuity)
    assert (target.cluster, target.near_tie) == (2, 1)
    assert target.continuity == [0.6, 0.4, 0.7, None]
    assert "continuity 0.70 against 0.40 of cluster 1, 0.60 of cluster 0" in target.reason
    assert not caplog.records


def test_continuity_is_the_mean_overlap_of_neighbours(tmp_path):
    """Four rows of one column each slice: cluster 1 moves by a row a slice, IoU 3 / 5."""
    masks = np.zeros((5, 1, 12, 2), bool)
    for z in range(5):
        masks[z, 0, z : z + 4, 0] = True
    moving = [0, 1, 2, 4]  # slice 3 has no ROI: no overlap from 2 to 4
    write_slices(tmp_path / "a", {z: masks[z] for z in moving})
    write_slices(tmp_path / "b", {z: masks[0] for z in (7, 8)})
    tables = [
        pd.DataFrame({"case": case, "slice": slices, "index": 0, "cluster": 1})
        for case, slices in [("a", moving), ("b", [7, 8]), ("none", [])]
    ]
    folders = {case: tmp_path / case for case in ("a", "b", "none")}
    expected = (3 / 5 + 3 / 5 + 0 + 1) / 4
    assert mean_continuity(tables, folders, [1, 6]) == {1: pytest.approx(expected), 6: 0.0}


def test_the_record():
    features = np.random.default_rng(0).normal(size=(90, 6))
    clusters = fit(features, 4, 10, 0)
    labels, _ = assign(features, clusters.centroids)
    target = chosen(labels, features[:, 0], 4, 1.0, 0.1)
    record = target_record(target, clusters, sse_curve(features, 2, 6, 2, 0), "area_mm2", 1.0)
    assert record["k"] == 4
    assert record["attribute"] == "area_mm2"
    assert sum(cluster["count"] for cluster in record["clusters"]) == len(features)
    means = [abs(cluster["mean"] - 1.0) for cluster in record["clusters"]]
    assert record["cluster"] == int(np.argmin(means))
