"""The training slices: images and labels in memory, SAM's features read when needed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umsam.data.field_of_view import View, central_view
from umsam.data.volumes import read_array, read_volume
from umsam.errors import InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingCase:
    """One training volume.

    Attributes
    ----------
    image
        Intensities in [0, 1], float32 [Z, H, W].
    label
        Pseudo-label or reference label, uint8 [Z, H, W].
    sam_features
        SAM's features [Z, D, h, w], memory-mapped; None if the variant does not distill.
    spacing
        Voxel size in mm (z, y, x).
    view
        The part of a slice that SAM saw; None for the whole slice.
    """

    image: NDArray[np.float32]
    label: NDArray[np.uint8]
    sam_features: NDArray[np.float16] | None = None
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    view: View | None = None


@dataclass(frozen=True)
class Batch:
    """The slices of one step, at the top left of a frame with the size of the largest slice.

    Attributes
    ----------
    image, label
        float32 and uint8, [B, 1, H, W].
    size
        Height and width of each slice, [B, 2].
    spacing
        Pixel size in mm (y, x) of each slice, [B, 2].
    sam_features
        [B, D, h, w], or None.
    view
        The part of each slice that SAM saw: first row, first column, height, width; [B, 4].
    """

    image: Tensor
    label: Tensor
    size: Tensor
    spacing: Tensor
    sam_features: Tensor | None
    view: Tensor


class SliceDataset:
    """All slices of the training cases; slices with an empty label count as background.

    Parameters
    ----------
    cases
        The training volumes.
    empty_slice_fraction
        Fraction of the slices with an empty label that each epoch draws at random.
    """

    def __init__(self, cases: Sequence[TrainingCase], empty_slice_fraction: float = 1.0) -> None:
        self.cases = list(cases)
        self.index = [(case, z) for case in self.cases for z in range(len(case.image))]
        self._empty = np.concatenate([~case.label.any(axis=(1, 2)) for case in self.cases])
        self._empty_per_epoch = round(empty_slice_fraction * int(self._empty.sum()))

    def __len__(self) -> int:
        return len(self.index)

    @property
    def positive_slices(self) -> int:
        """Number of slices whose label is not empty."""
        return int((~self._empty).sum())

    @property
    def epoch_length(self) -> int:
        """Number of slices per epoch, at least one."""
        return max(1, self.positive_slices + self._empty_per_epoch)

    def epoch(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw the positions of an epoch's slices, in random order."""
        order = rng.permutation(len(self))
        empty = self._empty[order]
        kept = ~empty | (np.cumsum(empty) <= self._empty_per_epoch)
        return order[kept] if kept.any() else order[:1]

    def batch(self, positions: Sequence[int]) -> Batch:
        """Collect the slices at `positions` and read only their SAM features."""
        slices = [self.index[position] for position in positions]
        size = torch.tensor([case.image.shape[1:] for case, _ in slices])
        spacing = torch.tensor([case.spacing[1:] for case, _ in slices])
        height, width = size.amax(dim=0).tolist()
        image = torch.zeros(len(slices), 1, height, width)
        label = torch.zeros(len(slices), 1, height, width, dtype=torch.uint8)
        for i, (case, z) in enumerate(slices):
            h, w = case.image.shape[1:]
            image[i, 0, :h, :w] = torch.from_numpy(case.image[z])
            label[i, 0, :h, :w] = torch.from_numpy(case.label[z])
        features = [case.sam_features[z] for case, z in slices if case.sam_features is not None]
        sam_features = torch.from_numpy(np.stack(features)) if features else None
        views = [
            case.view or central_view(case.image.shape[1:], case.spacing[1:], None)
            for case, _ in slices
        ]
        view = torch.tensor([(v.y, v.x, v.height, v.width) for v in views])
        return Batch(image, label, size, spacing, sam_features, view)

    def report(self, name: str) -> None:
        """Log the size of the data set `name`, and warn if all labels are empty."""
        log.info(
            "%d volumes, %d slices, %d of them with a label that is not empty",
            len(self.cases),
            len(self),
            self.positive_slices,
        )
        if not self.positive_slices:
            log.warning(
                "WARNING: the labels of all training slices are empty, so the network can only "
                "learn background. Check results/%s/clusters/target.json for the chosen cluster "
                "and the reason, and rois/*.csv for the shape priors that reject ROIs.",
                name,
            )


def read_training_cases(
    volumes: Sequence[str | Path],
    labels: Sequence[str | Path],
    sam_features: Sequence[str | Path] = (),
    field_of_view: float | None = None,
) -> list[TrainingCase]:
    """Read the cases that have a label; files are matched by the case in their names.

    Parameters
    ----------
    volumes
        ``{case}.nii.gz``, intensities in [0, 1].
    labels
        ``{case}.nii.gz``, labels or pseudo-labels. Volumes without one are skipped, and the log
        lists them.
    sam_features
        ``{case}.npy``, memory-mapped; needed by the variants that distill.
    field_of_view
        Side in mm of the square that SAM saw (`central_view`).

    Raises
    ------
    InputError
        No volume has a label, or the files of a case do not match.
    """
    label_of, features_of = (
        {_case_name(path): Path(path) for path in paths} for paths in (labels, sam_features)
    )
    skipped = [_case_name(path) for path in volumes if _case_name(path) not in label_of]
    if skipped:
        log.info("skipped because they have no label: %s", ", ".join(skipped))
    labelled = [Path(path) for path in volumes if _case_name(path) in label_of]
    if not labelled:
        raise InputError(
            "no training case has a label, so there is nothing to learn from. Add labels of cases "
            "with split 'train' to the sample sheet, or remove 'supervised' from training.variants."
        )
    return [
        _read_case(
            path, label_of[_case_name(path)], features_of.get(_case_name(path)), field_of_view
        )
        for path in labelled
    ]


def _read_case(
    volume_file: Path, label_file: Path, feature_file: Path | None, field_of_view: float | None
) -> TrainingCase:
    volume = read_volume(volume_file)
    image, spacing = np.ascontiguousarray(volume.array, dtype=np.float32), volume.spacing
    label = (read_array(label_file) > 0).astype(np.uint8)
    if label.shape != image.shape:
        raise InputError(
            f"{label_file}: its size {label.shape} (z, y, x) differs from {image.shape}, the size "
            f"of {volume_file}. Delete both files and run the workflow again."
        )
    if feature_file is None:
        return TrainingCase(image, label, spacing=spacing)
    features = np.load(feature_file, mmap_mode="r")
    if features.ndim != 4 or len(features) != len(image):
        raise InputError(
            f"{feature_file}: an array {features.shape} cannot hold the features of the "
            f"{len(image)} slices of {volume_file}. Delete the file and run the workflow again."
        )
    view = central_view(image.shape[1:], spacing[1:], field_of_view)
    return TrainingCase(image, label, features, spacing, view)


def _case_name(path: str | Path) -> str:
    return Path(path).name.removesuffix(".nii.gz").removesuffix(".npy")
