"""Precision and recall of the ROI sets against loops and by hand."""

import numpy as np
import pandas as pd
import pytest

from umsam.evaluation.precision import (
    format_precision,
    iou_with_label,
    precision_table,
    recall_table,
    slice_ious,
)


def test_iou_equals_a_loop_over_masks():
    rng = np.random.default_rng(0)
    masks, label = rng.random((20, 15, 11)) < 0.4, rng.random((15, 11)) < 0.3
    expected = [(mask & label).sum() / (mask | label).sum() for mask in masks]
    np.testing.assert_allclose(iou_with_label(masks, label), expected)


def test_the_iou_of_an_empty_label_is_zero():
    masks = np.ones((3, 4, 4), bool)
    assert iou_with_label(masks, np.zeros((4, 4), bool)).tolist() == [0, 0, 0]
    assert iou_with_label(masks[:0], np.ones((4, 4), bool)).shape == (0,)


def rectangle(width):
    mask = np.zeros((1, 10), bool)
    mask[:, :width] = True
    return mask


@pytest.fixture
def ious():
    """Two positive slices, with labels of 10 pixels, and an empty one.

    Slice 0 of case a has ROIs with an IoU of 1, 0.5 and 0.2; the last two are valid and the second
    is the pseudo-label. Slice 1 has an ROI of 0.4 that is not valid. The slice of case b has no
    label and one valid ROI, which is the pseudo-label.
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


def test_precision_equals_a_calculation_by_hand(ious):
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


def test_recall_equals_a_calculation_by_hand(ious):
    table = recall_table("d", [ious], [0.4, 0.5]).set_index(["set", "threshold"])
    assert set(table["n_slices"]) == {2}
    assert table.loc[("omega_0", 0.4), "recall"] == 1
    assert table.loc[("omega_0", 0.5), "recall"] == 0.5
    assert table.loc[("valid", 0.5), "recall"] == 0.5
    assert table.loc[("target", 0.5), "recall"] == 0.5


def test_precision_decreases_with_the_threshold(ious):
    table = precision_table("d", [ious], np.arange(1, 10) / 10)
    for _, group in table.groupby("set"):
        assert (group["precision"].diff().dropna() <= 0).all()


def test_without_rois_precision_is_undefined_and_recall_is_zero():
    nothing = np.zeros((0, 1, 10), bool)
    ious = slice_ious("a", 0, nothing, np.zeros(0, bool), rectangle(0), rectangle(10))
    assert precision_table("d", [ious], [0.5])["precision"].isna().all()
    assert (precision_table("d", [ious], [0.5])["n_rois"] == 0).all()
    assert (recall_table("d", [ious], [0.5])["recall"] == 0).all()


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_the_tables_do_not_depend_on_the_parts(ious, rows):
    parts = [ious.iloc[i : i + rows] for i in range(0, len(ious), rows)]
    for table in (precision_table, recall_table):
        expected = table("d", [ious], [0.1, 0.4, 0.5])
        pd.testing.assert_frame_equal(table("d", parts, [0.1, 0.4, 0.5]), expected)


def test_the_printed_precision_has_a_row_per_set():
    rows = [
        ("d", name, threshold, share, 7)
        for name, share in (("omega_0", 0.125), ("valid", float("nan")))
        for threshold in (0.1, 0.5)
    ]
    table = pd.DataFrame(rows, columns=["dataset", "set", "threshold", "precision", "n_rois"])
    header, cells = format_precision(table, "tex")
    assert header[2:] == ["IoU $>$ 0.1", "IoU $>$ 0.5"]
    assert cells[0][1:] == ["7", "12.5", "12.5"]
    assert cells[1][2:] == ["-", "-"]
