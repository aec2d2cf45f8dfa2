"""The slices a UNet learns from: images and targets in memory, SAM's features read as needed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umsam.data.field_of_view import View, view_of
from umsam.data.volumes import read_array, read_volume
from umsam.errors import InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingCase:
    """One volume: image float32 [Z, H, W], target uint8 [Z, H, W], SAM's features [Z, D, h, w].

    `spacing` is the size of a voxel in mm along z, y and x; `view` is what SAM saw of a slice, all
    of it where it is None.
    """

    image: NDArray[np.float32]
    target: NDArray[np.uint8]
    sam_features: NDArray[np.float16] | None = None  # memory-mapped
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    view: View | None = None


@dataclass(frozen=True)
class Batch:
    """Slices of one step, at the top left of a common frame that is as large as the largest.

    `image` float32 and `target` uint8 [B, 1, H, W]; `size` [B, 2], the height and width of each;
    `spacing` [B, 2], mm along y and x; `sam_features` [B, D, h, w] or None; `view` [B, 4], what
    SAM saw of each: first row and column, height and width.
    """

    image: Tensor
    target: Tensor
    size: Tensor
    spacing: Tensor
    sam_features: Tensor | None
    view: Tensor


class SliceDataset:
    """All slices of the training cases; those with an empty target count as background.

    Parameters
    ----------
    empty_slice_fraction
        Share of the slices with an empty target that an epoch sees, others in each.
    """

    def __init__(self, cases: Sequence[TrainingCase], empty_slice_fraction: float = 1.0) -> None:
        self.cases = list(cases)
        self.index = [(case, z) for case in self.cases for z in range(len(case.image))]
        self._empty = np.concatenate([~case.target.any(axis=(1, 2)) for case in self.cases])
        self._empty_seen = round(empty_slice_fraction * int(self._empty.sum()))

    def __len__(self) -> int:
        return len(self.index)

    @property
    def positive_slices(self) -> int:
        """How many slices have a target that is not empty."""
        return int((~self._empty).sum())

    @property
    def epoch_length(self) -> int:
        """Slices an epoch; one, where it would see none."""
        return max(1, self.positive_slices + self._empty_seen)

    def epoch(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Positions of an epoch's slices, in random order."""
        order = rng.permutation(len(self))
        empty = self._empty[order]
        kept = ~empty | (np.cumsum(empty) <= self._empty_seen)
        return order[kept] if kept.any() else order[:1]

    def batch(self, positions: Sequence[int]) -> Batch:
        """Collect the slices at `positions`; only their SAM features are read."""
        chosen = [self.index[position] for position in positions]
        size = torch.tensor([case.image.shape[1:] for case, _ in chosen])
        spacing = torch.tensor([case.spacing[1:] for case, _ in chosen])
        height, width = size.amax(dim=0).tolist()
        image = torch.zeros(len(chosen), 1, height, width)
        target = torch.zeros(len(chosen), 1, height, width, dtype=torch.uint8)
        for i, (case, z) in enumerate(chosen):
            h, w = case.image.shape[1:]
            image[i, 0, :h, :w] = torch.from_numpy(case.image[z])
            target[i, 0, :h, :w] = torch.from_numpy(case.target[z])
        features = [case.sam_features[z] for case, z in chosen if case.sam_features is not None]
        sam_features = torch.from_numpy(np.stack(features)) if features else None
        views = [
            case.view or view_of(case.image.shape[1:], case.spacing[1:], None) for case, _ in chosen
        ]
        view = torch.tensor([(v.y, v.x, v.height, v.width) for v in views])
        return Batch(image, target, size, spacing, sam_features, view)


def read_training_cases(
    volumes: Sequence[str | Path],
    targets: Sequence[str | Path],
    sam_features: Sequence[str | Path] = (),
    field_of_view: float | None = None,
) -> list[TrainingCase]:
    """Read the cases that have a target; files belong together by the case in their names.

    Parameters
    ----------
    volumes
        ``{case}.nii.gz``, intensities in [0, 1].
    targets
        ``{case}.nii.gz``, labels or pseudo-labels. Volumes without one are left out, with a
        message.
    sam_features
        ``{case}.npy``, needed by the variants that distill; memory-mapped.
    field_of_view
        Side in mm of the square that SAM saw (`view_of`).

    Raises
    ------
    InputError
        No volume has a target, or files of a case do not fit together.
    """
    by_case = [{_case(path): Path(path) for path in paths} for paths in (targets, sam_features)]
    target_of, features_of = by_case
    left_out = [_case(path) for path in volumes if _case(path) not in target_of]
    if left_out:
        log.info("left out, for they have no label: %s", ", ".join(left_out))
    used = [Path(path) for path in volumes if _case(path) in target_of]
    if not used:
        raise InputError(
            "no training case has a label, so there is nothing to learn from: give labels in the "
            "sample sheet (split 'train'), or take 'supervised' out of training.variants."
        )
    return [
        _read_case(path, target_of[_case(path)], features_of.get(_case(path)), field_of_view)
        for path in used
    ]


def _read_case(
    volume: Path, target: Path, features: Path | None, field_of_view: float | None
) -> TrainingCase:
    read = read_volume(volume)
    image, spacing = np.ascontiguousarray(read.array, dtype=np.float32), read.spacing
    label = (read_array(target) > 0).astype(np.uint8)
    if label.shape != image.shape:
        raise InputError(
            f"{target}: its size {label.shape} (z, y, x) is not that of {volume}, {image.shape}. "
            "Delete both and run again, or correct the label in the sample sheet."
        )
    if features is None:
        return TrainingCase(image, label, spacing=spacing)
    sam = np.load(features, mmap_mode="r")
    if sam.ndim != 4 or len(sam) != len(image):
        raise InputError(
            f"{features}: holds {sam.shape}, not the features of the {len(image)} slices of "
            f"{volume}. Delete it and run again."
        )
    view = view_of(image.shape[1:], spacing[1:], field_of_view)
    return TrainingCase(image, label, sam, spacing, view)


def _case(path: str | Path) -> str:
    return Path(path).name.removesuffix(".nii.gz").removesuffix(".npy")
