"""The IoU of the ROIs of a case, from the files of the pipeline."""

import numpy as np
import pandas as pd
import pytest

from umsam.data.masks import SliceMasks, slice_file, write_slice_masks
from umsam.data.volumes import Volume, write_volume
from umsam.errors import InputError
from umsam.evaluation.case_ious import case_ious


def write_files(folder, masks, valid, pseudo_label, label):
    """Write the files of a case; `masks` and `valid` hold one item per slice."""
    rows = []
    for z, (slice_masks, slice_valid) in enumerate(zip(masks, valid, strict=True)):
        k = len(slice_masks)
        score, box, point = np.ones(k), np.zeros((k, 4)), np.zeros((k, 2))
        (folder / "m").mkdir(exist_ok=True)
        write_slice_masks(
            slice_file(folder / "m", z), SliceMasks(slice_masks, score, score, box, point)
        )
        rows += [("a", z, index, ok) for index, ok in enumerate(slice_valid)]
    pd.DataFrame(rows, columns=["case", "slice", "index", "valid"]).to_csv(
        folder / "rois.csv", index=False
    )
    like = Volume(label, (3.0, 1.0, 1.0))
    write_volume(folder / "p.nii.gz", pseudo_label, Volume(pseudo_label, (3.0, 1.0, 1.0)))
    write_volume(folder / "a.nii.gz", label, like)
    return folder / "m", folder / "rois.csv", folder / "p.nii.gz", folder / "a.nii.gz"


@pytest.mark.parametrize("seed", range(3))
def test_the_ious_equal_a_loop_over_slices_and_rois(tmp_path, seed):
    rng = np.random.default_rng(seed)
    label, pseudo_label = (rng.random((2, 4, 9, 7)) < 0.4).astype(np.uint8)
    label[1], pseudo_label[2] = 0, 0
    counts = [3, 2, 0, 5]
    masks = [rng.random((k, 9, 7)) < 0.5 for k in counts]
    valid = [rng.random(k) < 0.5 for k in counts]
    table = case_ious(*write_files(tmp_path, masks, valid, pseudo_label, label))

    expected = {"omega_0": [], "valid": [], "target": []}
    for z, truth in enumerate(label > 0):
        for mask, is_valid in zip(masks[z], valid[z], strict=True):
            iou = (mask & truth).sum() / (mask | truth).sum()
            expected["omega_0"].append(iou)
            if is_valid:
                expected["valid"].append(iou)
        if pseudo_label[z].any():
            mask = pseudo_label[z] > 0
            expected["target"].append((mask & truth).sum() / (mask | truth).sum())
    for name, ious in expected.items():
        actual = table.loc[table["set"] == name, "iou"].dropna()
        np.testing.assert_allclose(actual, ious)
    assert set(table["case"]) == {"a"}
    assert table.groupby("slice")["positive"].first().tolist() == [True, False, True, True]


def test_masks_of_another_image_are_named(tmp_path):
    label = np.ones((1, 9, 7), np.uint8)
    paths = write_files(tmp_path, [np.ones((1, 7, 9), bool)], [[True]], label, label)
    with pytest.raises(InputError, match=r"slice_000\.npz.*\(7, 9\).*\(9, 7\)"):
        case_ious(*paths)
