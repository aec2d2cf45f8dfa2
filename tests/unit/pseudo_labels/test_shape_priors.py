"""Eq. 3 on shapes whose measures are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_masks import random_masks
from skimage.measure import regionprops

from umsam.data.masks import SliceMasks, no_masks
from umsam.pseudo_labels.shape_priors import (
    ROI_TYPES,
    ShapePriors,
    aspect_ratios,
    read_rois,
    rejections,
    roi_table,
)

PRIORS = ShapePriors.of({"v_min": 0.01, "v_max": 0.25, "a_min": "2/3", "a_max": 1.5})


def slice_of(*masks):
    k = len(masks)
    return SliceMasks(
        np.stack(masks), np.ones(k, np.float32), np.ones(k, np.float32),
        np.zeros((k, 4), np.int32), np.zeros((k, 2), np.float32),
    )  # fmt: skip


def rectangle(rows, columns, shape=(60, 100), at=(5, 7)):
    mask = np.zeros(shape, bool)
    mask[at[0] : at[0] + rows, at[1] : at[1] + columns] = True
    return mask


def measured(mask, priors=PRIORS, pixel=(1.0, 1.0)):
    return roi_table("a", 0, slice_of(mask), pixel, priors).iloc[0]


def test_a_rectangle():
    row = measured(rectangle(rows=10, columns=12), pixel=(0.5, 0.4))
    assert row["pixels"] == 120
    assert row["area_ratio"] == 120 / 6000
    assert row["aspect_ratio"] == pytest.approx(12 * 0.4 / (10 * 0.5))
    assert row["area_mm2"] == pytest.approx(120 * 0.2)
    assert row["valid"]
    assert row["rejected_by"] == ""


def test_an_ellipse():
    y, x = np.mgrid[:200, :200]
    mask = ((y - 100) / 40) ** 2 + ((x - 100) / 60) ** 2 <= 1
    row = measured(mask)
    assert row["aspect_ratio"] == 121 / 81
    assert row["area_mm2"] == pytest.approx(np.pi * 40 * 60, rel=2e-3)


def test_the_place_is_the_centroid():
    y, x = np.mgrid[:60, :100]
    mask = ((y - 20) / 8) ** 2 + ((x - 70) / 15) ** 2 <= 1
    expected = regionprops(mask.astype(int))[0].centroid  # of pixel indices
    row = measured(mask)
    assert row["y"] == pytest.approx((expected[0] + 0.5) / 60)
    assert row["x"] == pytest.approx((expected[1] + 0.5) / 100)


@pytest.mark.parametrize(
    ("bounds", "violated"),
    [
        ({"x_min": 0.5}, "x_min"),
        ({"x_min": 0.2, "x_max": 0.4}, ""),
        ({"x_max": 0.25, "y_min": 0.6}, "x_max;y_min"),
        ({"y_max": 0.5}, ""),  # inclusive
        ({"y_max": 0.49}, "y_max"),
    ],
)
def test_bounds_on_the_place(bounds, violated):
    priors = ShapePriors(0, 1, 0, 100, **bounds)
    row = measured(rectangle(10, 10, shape=(40, 40), at=(15, 7)), priors)  # centroid 0.3, 0.5
    assert row["rejected_by"] == violated


def test_two_pieces_have_one_box():
    mask = rectangle(2, 3) | rectangle(2, 3, at=(15, 27))
    assert measured(mask)["aspect_ratio"] == 23 / 12


@pytest.mark.parametrize(
    ("rows", "columns", "bounds"),
    [
        (30, 20, ""),  # A = 2/3
        (31, 20, "a_min"),
        (20, 30, ""),  # A = 3/2
        (20, 31, "a_max"),
        (6, 10, "a_max"),  # V = 0.01: inclusive; A = 1.67
        (7, 9, ""),
        (7, 8, "v_min"),  # V = 0.0093
        (30, 50, "a_max"),  # V = 0.25: inclusive
        (40, 40, "v_max"),
        (3, 50, "a_max"),
        (50, 3, "a_min"),
        (1, 9, "v_min;a_max"),
        (60, 100, "v_max;a_max"),
    ],
)
def test_bounds_are_inclusive(rows, columns, bounds):
    row = measured(rectangle(rows, columns, at=(0, 0)))
    assert row["rejected_by"] == bounds
    assert row["valid"] == (bounds == "")


@pytest.mark.parametrize("bound", ["2/3", 2 / 3, 0.6666666666666667, 0.6666666666666666])
def test_two_thirds_however_rounded(bound):
    priors = ShapePriors.of({"v_min": 1e-9, "v_max": 1, "a_min": bound, "a_max": 2})
    for size in range(1, 20):
        mask = rectangle(rows=3 * size, columns=2 * size, at=(0, 0))
        assert measured(mask, priors)["valid"]


def test_an_empty_mask_is_rejected():
    row = measured(np.zeros((9, 9), bool))
    assert row["pixels"] == 0
    assert np.isnan(row["aspect_ratio"])
    assert not row["valid"]


@settings(max_examples=40, deadline=None)
@given(
    k=st.integers(0, 5), height=st.integers(1, 15), width=st.integers(1, 15), seed=st.integers(0, 9)
)
def test_boxes_are_those_of_scikit_image(k, height, width, seed):
    masks = random_masks(k, height, width, seed).masks
    for mask, ratio in zip(masks, aspect_ratios(masks, (2.0, 2.0)), strict=True):
        if mask.any():
            y0, x0, y1, x1 = regionprops(mask.astype(int))[0].bbox
            assert ratio == (x1 - x0) / (y1 - y0)
        else:
            assert np.isnan(ratio)


def test_a_disc_is_round_on_pixels_of_any_shape():
    y, x = np.mgrid[-30:30:0.5, -30:30]  # mm
    (ratio,) = aspect_ratios((x**2 + y**2 <= 20**2)[None], (0.5, 1.0))
    assert ratio == pytest.approx(1, abs=0.03)


def test_a_slice_without_rois_is_a_table_with_a_header(tmp_path):
    table = roi_table("007", 3, no_masks(9, 9), (1.0, 1.0), PRIORS)
    table.to_csv(tmp_path / "a.csv", index=False)
    read = read_rois(tmp_path / "a.csv")
    assert list(read.columns) == list(ROI_TYPES)
    assert read.empty
    assert read["valid"].dtype == bool
    assert read["aspect_ratio"].dtype == float


def test_a_table_is_read_as_written(tmp_path):
    masks = slice_of(rectangle(10, 10), rectangle(1, 9), np.zeros((60, 100), bool))
    written = roi_table("NA", 3, masks, (0.35, 0.3), PRIORS)
    written.to_csv(tmp_path / "a.csv", index=False)
    read = read_rois(tmp_path / "a.csv")
    assert read["case"].tolist() == ["NA"] * 3
    assert read["valid"].tolist() == [True, False, False]
    assert read["rejected_by"].tolist() == ["", "v_min;a_max", "v_min"]
    assert np.allclose(read["area_mm2"], written["area_mm2"])
    assert np.isnan(read["aspect_ratio"][2])


def test_rejections_name_the_prior_to_relax():
    wide = [rectangle(10, 60 + i) for i in range(4)]
    rois = roi_table("a", 0, slice_of(*wide, rectangle(1, 2)), (1.0, 1.0), PRIORS)
    text = rejections(rois)
    assert "shape_priors.a_max rejects most, 5 of 5 ROIs" in text
    assert "aspect_ratio has the quantiles" in text
    assert "50 %: 6.1" in text


def test_no_roi_at_all_is_no_matter_of_priors():
    text = rejections(roi_table("a", 0, no_masks(9, 9), (1.0, 1.0), PRIORS))
    assert "sam.pred_iou_thresh" in text
    assert "shape_priors" not in text
