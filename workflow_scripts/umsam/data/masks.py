"""The masks of one slice with everything SAM says about them, and their file."""

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umsam.errors import InputError
from umsam.files import atomic_write
from umsam.data.field_of_view import View


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
        int32 [K, 4]: x and y of the first column and row, then the last column minus the first and
        the last row minus the first (Meta's XYWH: a box one pixel wide has the width 0).
    point
        float32 [K, 2]: x, y of the grid point that the mask answers.
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

    @property
    def area(self) -> NDArray[np.int64]:
        """Pixels of each mask, [K]."""
        return np.count_nonzero(self.masks, axis=(1, 2))

    def placed(self, view: View, shape: tuple[int, int]) -> "SliceMasks":
        """Masks of a view as masks of the slice of `shape` that it is part of."""
        masks = np.zeros((len(self), *shape), bool)
        masks[:, *view.window] = self.masks
        return replace(
            self,
            masks=masks,
            box=self.box + np.array([view.x, view.y, 0, 0], np.int32),
            point=self.point + np.array([view.x, view.y], np.float32),
        )


def no_masks(height: int, width: int) -> SliceMasks:
    """A slice on which nothing was found."""
    return SliceMasks(
        masks=np.zeros((0, height, width), bool),
        predicted_iou=np.zeros(0, np.float32),
        stability_score=np.zeros(0, np.float32),
        box=np.zeros((0, 4), np.int32),
        point=np.zeros((0, 2), np.float32),
    )


def slice_file(folder: str | Path, z: int) -> Path:
    """The masks file of slice `z` in a case's folder."""
    return Path(folder) / f"slice_{z:03d}.npz"


def write_slice_masks(path: str | Path, m: SliceMasks) -> None:
    """Write a compressed .npz of plain arrays.

    `row_changes` is uint8 [K, H, ceil(W / 8)]: eight pixels a byte, each row XORed with the one
    above, which leaves little but zeros to compress.
    """
    rows = np.packbits(m.masks, axis=2)
    rows[:, 1:] ^= rows[:, :-1].copy()
    with atomic_write(path) as temporary:
        np.savez_compressed(
            temporary,
            row_changes=rows,
            shape=np.array(m.masks.shape, np.int64),
            predicted_iou=m.predicted_iou.astype(np.float32),
            stability_score=m.stability_score.astype(np.float32),
            box=m.box.astype(np.int32),
            point=m.point.astype(np.float32),
        )


def read_slice_masks(path: str | Path) -> SliceMasks:
    """Read what `write_slice_masks` wrote; never unpickles.

    Raises
    ------
    InputError
        The file is missing, cut short or of another kind.
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
            f"{path}: not a file of slice masks ({error}). Delete its folder, so that everything "
            "mode makes it again."
        ) from error
