"""DSC, empty masks, and the rows of metrics/{method}.csv."""

import json
import math

import numpy as np
import pytest
from medpy.metric.binary import dc

from umsam.data.volumes import Volume, write_volume
from umsam.errors import InputError
from umsam.evaluation.case_metrics import METRIC_COLUMNS, case_metrics, read_metrics
from umsam.evaluation.dice import dice
from umsam.evaluation.metrics import measure

SHAPE, SPACING = (4, 10, 12), (5.0, 1.0, 2.0)


@pytest.fixture
def label():
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, 2:7, 3:8] = 1
    return mask


def test_dice_equals_medpy():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.random((2, *SHAPE)) < rng.uniform(0.05, 0.9)
        assert dice(a, b) == pytest.approx(dc(a, b))


def test_a_perfect_prediction_has_dsc_1_and_assd_0(label):
    agreement = measure(label, label, SPACING)
    assert (agreement.dsc, agreement.assd_mm, agreement.assd_voxel) == (1, 0, 0)
    assert agreement.dsc_positive_slices == 1
    assert agreement.flags == ""


def test_assd_is_reported_in_mm_and_in_voxels(label):
    shifted = np.roll(label, 1, axis=2)  # by 2 mm, 1 voxel
    agreement = measure(shifted, label, SPACING)
    isotropic = measure(shifted, label, (1, 1, 1))
    assert agreement.assd_voxel == pytest.approx(isotropic.assd_mm)
    assert agreement.assd_mm > agreement.assd_voxel


def test_false_positive_slices_count_only_in_the_primary_dsc(label):
    prediction = label.copy()
    prediction[0, 2:7, 3:8] = 1
    agreement = measure(prediction, label, SPACING)
    assert agreement.dsc == pytest.approx(2 * 50 / (75 + 50))
    assert agreement.dsc_positive_slices == 1


def test_two_empty_masks_have_dsc_1_and_assd_0(label):
    agreement = measure(label * 0, label * 0, SPACING)
    assert (agreement.dsc, agreement.assd_mm, agreement.assd_voxel) == (1, 0, 0)
    assert agreement.flags == "both empty"
    assert math.isnan(agreement.dsc_positive_slices)


@pytest.mark.parametrize("missing", ["prediction", "label"])
def test_one_empty_mask_costs_the_image_diagonal(label, missing):
    prediction, truth = (label * 0, label) if missing == "prediction" else (label, label * 0)
    agreement = measure(prediction, truth, SPACING)
    assert agreement.dsc == 0
    assert agreement.assd_mm == pytest.approx(math.hypot(4 * 5, 10 * 1, 12 * 2))
    assert agreement.assd_voxel == pytest.approx(math.hypot(4, 10, 12))
    assert agreement.flags == f"empty {missing}"


def test_different_shapes_are_refused(label):
    with pytest.raises(ValueError, match="shape"):
        measure(label[:2], label, SPACING)


def test_a_row_is_computed_from_files(tmp_path, label):
    like = Volume(label, SPACING)
    (tmp_path / "labels").mkdir()
    write_volume(tmp_path / "labels/a.1.nii.gz", label, like)
    write_volume(tmp_path / "a.1.nii.gz", np.roll(label, 1, axis=1), like)
    (tmp_path / "a.1.json").write_text(json.dumps({"seconds": 1.5}))
    row = case_metrics("val", tmp_path / "a.1.nii.gz", tmp_path / "labels/a.1.nii.gz")
    assert list(row) == [column for column in METRIC_COLUMNS if column in row]
    assert set(row) == set(METRIC_COLUMNS)
    assert (row["case"], row["split"], row["seconds"]) == ("a.1", "val", 1.5)
    assert row["dsc"] == pytest.approx(0.8)

    (tmp_path / "a.1.json").unlink()
    row = case_metrics("val", tmp_path / "a.1.nii.gz", tmp_path / "labels/a.1.nii.gz")
    assert row["seconds"] is None


def test_files_of_different_shapes_are_named(tmp_path, label):
    write_volume(tmp_path / "p.nii.gz", label[:3], Volume(label[:3], SPACING))
    write_volume(tmp_path / "l.nii.gz", label, Volume(label, SPACING))
    with pytest.raises(InputError, match=r"p\.nii\.gz.*l\.nii\.gz"):
        case_metrics("test", tmp_path / "p.nii.gz", tmp_path / "l.nii.gz")


def test_read_metrics_keeps_case_names_and_flags_as_text(tmp_path):
    header = ",".join(METRIC_COLUMNS)
    (tmp_path / "triple_seed0.csv").write_text(
        f"{header}\n007,test,0.5,1,1,0.5,,\nNA,test,0.5,1,1,,both empty,2\n"
    )
    (name, table), *_ = read_metrics([tmp_path / "triple_seed0.csv"]).items()
    assert name == "triple_seed0"
    assert table["case"].tolist() == ["007", "NA"]
    assert table["flags"].tolist() == ["", "both empty"]
    assert table["seconds"].isna().tolist() == [True, False]
    assert table["dsc_positive_slices"].isna().tolist() == [False, True]
