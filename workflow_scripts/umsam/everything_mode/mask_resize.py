"""Resize SAM's low-resolution mask logits to the slice with one composed interpolation.

segment_anything enlarges each mask to the encoder's square, crops the padding and resizes the rest
to the image. Both steps are bilinear, so together they are one matrix per axis, with at most three
adjacent nonzero entries per row. The intermediate square is never computed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_matrix(low: int, square: int, used: int, size: int) -> Tensor:
    """Return the resize along one axis as a float32 matrix [size, low].

    Parameters
    ----------
    low
        Length of the decoder's masks.
    square
        Side of the encoder's input, to which the masks are enlarged first.
    used
        Part of the square that the image covers; the rest is padding.
    size
        Length of the image.
    """
    identity = torch.eye(low, dtype=torch.float64)[None]
    enlarged = F.interpolate(identity, square, mode="linear", align_corners=False)[..., :used]
    return F.interpolate(enlarged, size, mode="linear", align_corners=False)[0].T.float()


class MaskResize:
    """Resizes masks to one image size, with the result of `Sam.postprocess_masks`.

    Parameters
    ----------
    low
        Height and width of the decoder's masks.
    square
        Side of the encoder's input.
    used
        Height and width of the image in the encoder's input.
    size
        Height and width of the image.
    device
        Where the masks are.
    """

    def __init__(
        self,
        low: tuple[int, int],
        square: int,
        used: tuple[int, int],
        size: tuple[int, int],
        device: torch.device,
    ) -> None:
        rows, columns = (
            resize_matrix(low[axis], square, used[axis], size[axis]) for axis in (0, 1)
        )
        self.size = size
        self.columns = columns.T.contiguous().to(device)
        taps = min(3, low[0])
        first = (rows != 0).int().argmax(dim=1).clamp(max=low[0] - taps)
        index = first[:, None] + torch.arange(taps)
        self.rows = index.T.contiguous().to(device)
        self.weights = rows.gather(1, index).T[..., None].contiguous().to(device)

    def __call__(self, logits: Tensor) -> Tensor:
        """Resize [N, h, w] to [N, H, W]."""
        wide = logits @ self.columns
        out = wide.index_select(1, self.rows[0]) * self.weights[0]
        for row, weight in zip(self.rows[1:], self.weights[1:], strict=True):
            out.addcmul_(wide.index_select(1, row), weight)
        return out
