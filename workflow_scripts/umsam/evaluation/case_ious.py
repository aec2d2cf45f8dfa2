"""The IoU of every ROI of a case with the label, from the files of the pipeline."""

from pathlib import Path

import numpy as np
import pandas as pd

from umsam.data.masks import read_slice_masks, slice_file
from umsam.data.volumes import read_array
from umsam.errors import InputError
from umsam.evaluation.case_metrics import case_name
from umsam.evaluation.precision import slice_ious
from umsam.pseudo_labels.shape_priors import read_rois


def case_ious(
    mask_folder: str | Path,
    roi_file: str | Path,
    pseudo_label_file: str | Path,
    label_file: str | Path,
) -> pd.DataFrame:
    """Collect the rows of `slice_ious` for all slices of a case.

    Parameters
    ----------
    mask_folder
        ``sam_masks/{case}``.
    roi_file
        ``rois/{case}.csv``.
    pseudo_label_file
        ``pseudo_labels/{case}.nii.gz``.
    label_file
        ``labels/{case}.nii.gz``.

    Raises
    ------
    InputError
        The masks and the label differ in their size in the plane.
    """
    case = case_name(label_file)
    label, pseudo_label = read_array(label_file) > 0, read_array(pseudo_label_file) > 0
    rois = read_rois(roi_file).set_index(["slice", "index"])["valid"]
    parts = []
    for z in range(len(label)):
        file = slice_file(mask_folder, z)
        masks = read_slice_masks(file).masks
        if masks.shape[1:] != label.shape[1:]:
            raise InputError(
                f"{file}: masks of {masks.shape[1:]} pixels, but the label {label_file} has "
                f"{label.shape[1:]}. Both belong to the same image: delete the folder and run "
                "the workflow again."
            )
        valid = np.array([rois[z, index] for index in range(len(masks))], bool)
        parts.append(slice_ious(case, z, masks, valid, pseudo_label[z], label[z]))
    return pd.concat(parts, ignore_index=True)
