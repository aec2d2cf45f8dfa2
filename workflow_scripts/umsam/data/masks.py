"""The masks of one slice with SAM's scores, and the file that holds them."""

import zipfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umsam.data.field_of_view import View
from umsam.errors import InputError
from umsam.files import atomic_write


@dataclass(frozen=True)
class SliceMasks:
    """The K class-agnostic ROIs of one slice (eq. 1), in the generator's order; K may be 0.

    Attributes
    ----------
    masks
        bool [K, H, W].
    predicted_iou, stability_score
        float32 [K], SAM's own estimates of quality.
    box
        int32 [K, 4]: the first column and row, then the last column minus the first and the last
        row minus the first (Meta's XYWH: a box that is one pixel wide has width 0).
    point
        float32 [K, 2]: x, y of the grid point that produced the mask.
    """

    masks: NDArray[np.bool_]
    predicted_iou: NDArray[np.float32]
    stability_score: NDArray[np.float32]
    box: NDArray[np.int32]
    point: NDArray[np.float32]

    def __post_init__(self) -> None:
        k = len(self.masks)
        shapes = {"predicted_iou": (k,), "stability_score": (k,), "box": (k, 4), "point": (k, 2)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name}: {getattr(self, name).shape} for {k} masks")

    def __len__(self) -> int:
        return len(self.masks)

    @cached_property
    def area(self) -> NDArray[np.int64]:
        """Number of pixels of each mask, [K]."""
        return np.count_nonzero(self.masks, axis=(1, 2))

    def place_in_slice(self, view: View, shape: tuple[int, int]) -> "SliceMasks":
        """Return masks of a view as masks of the whole slice, which has the size `shape`."""
        masks = np.zeros((len(self), *shape), bool)
        masks[:, *view.window] = self.masks
        return replace(
            self,
            masks=masks,
            box=self.box + np.array([view.x, view.y, 0, 0], np.int32),
            point=self.point + np.array([view.x, view.y], np.float32),
        )


def no_masks(height: int, width: int) -> SliceMasks:
    """Return the masks of a slice without any ROI."""
    return SliceMasks(
        masks=np.zeros((0, height, width), bool),
        predicted_iou=np.zeros(0, np.float32),
        stability_score=np.zeros(0, np.float32),
        box=np.zeros((0, 4), np.int32),
        point=np.zeros((0, 2), np.float32),
    )


def slice_file(folder: str | Path, z: int) -> Path:
    """Return the path of the masks of slice `z` in a case's folder."""
    return Path(folder) / f"slice_{z:03d}.npz"


def write_slice_masks(path: str | Path, slice_masks: SliceMasks) -> None:
    """Write a compressed .npz of plain arrays.

    `row_changes` is uint8 [K, H, ceil(W / 8)]: eight pixels per byte, and each row XORed with the
    row above. Mostly zeros remain, which compress well.
    """
    rows = np.packbits(slice_masks.masks, axis=2)
    rows[:, 1:] ^= rows[:, :-1].copy()
    with atomic_write(path) as temporary:
        np.savez_compressed(
            temporary,
            row_changes=rows,
            shape=np.array(slice_masks.masks.shape, np.int64),
            predicted_iou=slice_masks.predicted_iou.astype(np.float32),
            stability_score=slice_masks.stability_score.astype(np.float32),
            box=slice_masks.box.astype(np.int32),
            point=slice_masks.point.astype(np.float32),
        )


def read_slice_masks(path: str | Path) -> SliceMasks:
    """Read a file of `write_slice_masks`; nothing is unpickled.

    Raises
    ------
    InputError
        The file is missing, truncated or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            width = int(file["shape"][2])
            rows = np.bitwise_xor.accumulate(file["row_changes"], axis=1)
            bits = np.unpackbits(rows, axis=2, count=width)
            return SliceMasks(
                masks=bits.view(bool),
                predicted_iou=file["predicted_iou"],
                stability_score=file["stability_score"],
                box=file["box"],
                point=file["point"],
            )
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: not a file of slice masks ({error}). Delete its folder and run the workflow "
            "again: everything mode then rewrites it."
        ) from error
