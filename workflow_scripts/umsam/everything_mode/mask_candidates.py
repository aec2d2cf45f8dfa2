"""Masks of a crop on the device, packed as bits, while duplicates are suppressed.

`FastGenerator` collects candidates batch by batch. Packed masks take an eighth of the memory and
reach the host in one transfer per crop.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from umsam.data.masks import SliceMasks


@dataclass(frozen=True)
class MaskCandidates:
    """N masks that passed the thresholds.

    Attributes
    ----------
    bits
        uint8 [N, bytes], each mask row by row with eight pixels per byte.
    box
        int64 [N, 4]: x0, y0, x1, y1, inclusive.
    point
        float64 [N, 2]: x, y of the grid point that produced the mask.
    predicted_iou, stability_score
        float32 [N].
    """

    bits: Tensor
    box: Tensor
    point: Tensor
    predicted_iou: Tensor
    stability_score: Tensor

    def __len__(self) -> int:
        return len(self.box)

    def __getitem__(self, index: Tensor) -> "MaskCandidates":
        return MaskCandidates(*(value[index] for value in vars(self).values()))

    def cpu(self) -> "MaskCandidates":
        return MaskCandidates(*(value.cpu() for value in vars(self).values()))

    def unpack(self, height: int, width: int) -> NDArray[np.bool_]:
        """Return the masks, bool [N, H, W]; the candidates must be on the CPU."""
        pixels = np.unpackbits(self.bits.numpy(), axis=1, count=height * width)
        return pixels.view(bool).reshape(-1, height, width)

    def to_slice_masks(self, masks: NDArray[np.bool_]) -> SliceMasks:
        """Return `masks` [N, H, W] with the boxes, points and scores of these candidates."""
        box = self.box.numpy().astype(np.int32)
        box[:, 2:] -= box[:, :2]
        return SliceMasks(
            masks=masks,
            predicted_iou=self.predicted_iou.numpy(),
            stability_score=self.stability_score.numpy(),
            box=box,
            point=self.point.numpy().astype(np.float32),
        )


def no_candidates(height: int, width: int, device: torch.device) -> MaskCandidates:
    """Return the candidates of a crop without masks."""
    return MaskCandidates(
        bits=torch.zeros(0, -(-height * width // 8), dtype=torch.uint8, device=device),
        box=torch.zeros(0, 4, dtype=torch.int64, device=device),
        point=torch.zeros(0, 2, dtype=torch.float64, device=device),
        predicted_iou=torch.zeros(0, device=device),
        stability_score=torch.zeros(0, device=device),
    )


def concatenate(parts: list[MaskCandidates]) -> MaskCandidates:
    """Concatenate candidates in order."""
    values = zip(*(vars(part).values() for part in parts), strict=True)
    return MaskCandidates(*map(torch.cat, values))


def count_pixels(masks: Tensor) -> Tensor:
    """Count the pixels of each mask [N, H, W]."""
    return masks.flatten(1).sum(dim=1, dtype=torch.int32)


def bounding_boxes(logits: Tensor, threshold: float) -> Tensor:
    """Return x0, y0, x1, y1 (inclusive) of the pixels above the threshold, [N, 4].

    A mask without such pixels has a box of zeros.
    """
    ends = []
    for dim in (1, 2):  # reduce the rows, then the columns
        occupied = logits.amax(dim=dim) > threshold
        last = occupied.shape[1] - 1 - occupied.flip(1).int().argmax(dim=1)
        ends.append((occupied.int().argmax(dim=1), last, occupied.any(dim=1)))
    (x0, x1, nonempty), (y0, y1, _) = ends
    return torch.stack([x0, y0, x1, y1], dim=1) * nonempty[:, None]


def pack_bits(masks: Tensor) -> Tensor:
    """Pack masks [N, H, W] into uint8 [N, bytes], the first pixel in the highest bit."""
    pixels = masks.flatten(1)
    if pixels.device.type == "cpu":
        return torch.from_numpy(np.packbits(pixels.numpy(), axis=1))
    return _pack_bits_with_torch(pixels)


def _pack_bits_with_torch(pixels: Tensor) -> Tensor:
    """`np.packbits` of [N, pixels] along the second axis."""
    pixels = F.pad(pixels, (0, -pixels.shape[1] % 8)).view(torch.uint8).unflatten(1, (-1, 8))
    values = 1 << torch.arange(7, -1, -1, dtype=torch.uint8, device=pixels.device)
    return (pixels * values).sum(dim=2, dtype=torch.uint8)
