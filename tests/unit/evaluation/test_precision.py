"""Precision and recall of the ROI sets against plain loops and by hand."""

import numpy as np
import pandas as pd
import pytest

from umsam.evaluation.precision import iou_with_label, precision_table, recall_table, slice_ious


def test_iou_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    masks, label = rng.random((20, 15, 11)) < 0.4, rng.random((15, 11)) < 0.3
    expected = [(mask & label).sum() / (mask | label).sum() for mask in masks]
    np.testing.assert_allclose(iou_with_label(masks, label), expected)


def test_an_empty_slice_and_no_roi():
    masks = np.ones((3, 4, 4), bool)
    assert iou_with_label(masks, np.zeros((4, 4), bool)).tolist() == [0, 0, 0]
    assert iou_with_label(masks[:0], np.ones((4, 4), bool)).shape == (0,)


def rectangle(width):
    mask = np.zeros((1, 10), bool)
    mask[:, :width] = True
    return mask


@pytest.fixture
def ious():
    """Two positive slices (label of 10 pixels) and an empty one.

    Slice 0 has ROIs of IoU 1, 0.5 and 0.2, the last two valid, the second chosen; slice 1 has one
    of 0.4, not valid; slice 2 has no label, one valid ROI, chosen.
    """
    label, none = rectangle(10), rectangle(0)
    return pd.concat(
        [
            slice_ious(
                "a",
                0,
                np.stack([rectangle(10), rectangle(5), rectangle(2)]),
                np.array([False, True, True]),
                rectangle(5),
                label,
            ),
            slice_ious("a", 1, rectangle(4)[None], np.array([False]), none, label),
            slice_ious("b", 0, rectangle(4)[None], np.array([True]), rectangle(4), none),
        ],
        ignore_index=True,
    )


def test_precision_by_hand(ious):
    table = precision_table("d", [ious], [0.1, 0.5]).set_index(["set", "threshold"])
    assert table["n_rois"].groupby("set").first().to_dict() == {
        "omega_0": 5,
        "valid": 3,
        "target": 2,
    }
    assert table.loc[("omega_0", 0.1), "precision"] == pytest.approx(4 / 5)
    assert table.loc[("omega_0", 0.5), "precision"] == pytest.approx(1 / 5)  # IoU > T, not >=
    assert table.loc[("valid", 0.1), "precision"] == pytest.approx(2 / 3)
    assert table.loc[("target", 0.1), "precision"] == pytest.approx(1 / 2)
    assert table.loc[("target", 0.5), "precision"] == 0


def test_recall_by_hand(ious):
    table = recall_table("d", [ious], [0.4, 0.5]).set_index(["set", "threshold"])
    assert set(table["n_slices"]) == {2}
    assert table.loc[("omega_0", 0.4), "recall"] == 1
    assert table.loc[("omega_0", 0.5), "recall"] == 0.5
    assert table.loc[("valid", 0.5), "recall"] == 0.5
    assert table.loc[("target", 0.5), "recall"] == 0.5


def test_precision_falls_with_the_threshold(ious):
    table = precision_table("d", [ious], np.arange(1, 10) / 10)
    for _, group in table.groupby("set"):
        assert (group["precision"].diff().dropna() <= 0).all()


def test_no_roi_anywhere_is_no_precision_and_no_recall():
    nothing = np.zeros((0, 1, 10), bool)
    ious = slice_ious("a", 0, nothing, np.zeros(0, bool), rectangle(0), rectangle(10))
    assert precision_table("d", [ious], [0.5])["precision"].isna().all()
    assert (precision_table("d", [ious], [0.5])["n_rois"] == 0).all()
    assert (recall_table("d", [ious], [0.5])["recall"] == 0).all()


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_parts_of_any_size_give_the_same_tables(ious, rows):
    parts = [ious.iloc[i : i + rows] for i in range(0, len(ious), rows)]
    for table in (precision_table, recall_table):
        expected = table("d", [ious], [0.1, 0.4, 0.5])
        pd.testing.assert_frame_equal(table("d", parts, [0.1, 0.4, 0.5]), expected)
