"""The target cluster on hand-made cases."""

import logging

import numpy as np
import pandas as pd
import pytest
from test_pseudo_labels import write_slices

from umsam.pseudo_labels.assignments import assign
from umsam.pseudo_labels.clustering import fit
from umsam.pseudo_labels.target import choose_target, mean_continuity, target_record


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
    assert ("cluster 0 (mean aspect_ratio 1.1, 1 ROIs), which was chosen" in caplog.text) == tied
    assert (f"cluster 1 (mean aspect_ratio {other:.4g}" in caplog.text) == tied


@pytest.mark.parametrize(("mean", "far"), [(0.4, True), (0.55, False), (1.45, False), (1.6, True)])
def test_a_prior_that_no_cluster_is_near_is_warned_of(caplog, mean, far):
    with caplog.at_level(logging.WARNING):
        assert chosen(np.array([0, 0]), np.array([mean, mean]), 1, 1.0, 0.1).cluster == 0
    assert ("no cluster is near target.prior" in caplog.text) == far


def test_an_empty_cluster_is_never_the_target():
    target = chosen(np.array([0, 0, 2]), np.array([5.0, 5.0, 9.0]), 3, 1.0, 0.1)
    assert target.cluster == 0
    assert target.means[1] is None


EVIDENCE = [
    # of two alike in all else: the nearer, the steadier, the larger
    ([1.2, 1.4], [0.5, 0.5], [5, 5], 0),
    ([1.2, 1.4], [0.5, 0.8], [5, 5], 1),
    ([1.2, 1.4], [0.5, 0.5], [3, 7], 1),
    # 0.2 further from the prior, 0.03 steadier (three times), 0.2 and 0.05 more of all ROIs
    ([1.2, 1.4], [0.5, 0.53], [4, 6], 1),
    ([1.2, 1.4], [0.5, 0.53], [19, 21], 0),
    ([1.4, 1.2], [0.53, 0.5], [21, 19], 1),
    ([1.2, 1.45], [0.5, 0.6], [5, 5], 1),
    ([1.2, 1.55], [0.5, 0.6], [5, 5], 0),
]


@pytest.mark.parametrize(("means", "continuity", "counts", "expected"), EVIDENCE)
def test_continuity_and_number_are_evidence_too(means, continuity, counts, expected):
    counts = np.array(counts)
    for scale in (1.0, 700.0):  # the prior's unit does not matter
        sums = counts * np.array(means) * scale
        target = choose_target(counts, sums, scale, 0.0, "area_mm2", np.array(continuity))
        assert target.cluster == expected
        assert target.continuity == continuity


def test_an_empty_cluster_is_not_the_target_by_other_evidence():
    counts, sums = np.array([0, 3]), np.array([0.0, 30.0])
    assert choose_target(counts, sums, 1.0, 0.1, "aspect_ratio", np.array([0, 0.1])).cluster == 1


def test_continuity_is_the_overlap_of_neighbours_in_the_run(tmp_path):
    """Four rows of one column each slice: cluster 1 moves by a row a slice, IoU 3 / 5."""
    masks = np.zeros((5, 1, 12, 2), bool)
    for z in range(5):
        masks[z, 0, z : z + 4, 0] = True
    moving = [0, 1, 2, 4]  # slice 3 has no ROI: the run is 0 to 2, of three steps
    write_slices(tmp_path / "a", {z: masks[z] for z in moving})
    write_slices(tmp_path / "b", dict.fromkeys((7, 8), masks[0]))
    tables = [
        pd.DataFrame({"case": case, "slice": slices, "index": 0, "cluster": 1, "distance": 1.0})
        for case, slices in [("a", moving), ("b", [7, 8]), ("none", [])]
    ]
    folders = {case: tmp_path / case for case in ("a", "b", "none")}
    expected = (3 / 5 + 3 / 5 + 0 + 1) / 4
    assert mean_continuity(tables, folders, 3) == pytest.approx([0, expected, 0])


def test_the_record():
    features = np.random.default_rng(0).normal(size=(90, 6))
    clusters = fit(features, 4, 10, 0)
    labels, _ = assign(features, clusters.centroids)
    target = chosen(labels, features[:, 0], 4, 1.0, 0.1)
    record = target_record(target, "area_mm2", 1.0)
    assert record["k"] == 4
    assert record["attribute"] == "area_mm2"
    assert sum(cluster["count"] for cluster in record["clusters"]) == len(features)
    means = [abs(cluster["mean"] - 1.0) for cluster in record["clusters"]]
    assert record["cluster"] == int(np.argmin(means))
