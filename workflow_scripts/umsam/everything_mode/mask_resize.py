"""SAM's low-resolution logits to the size of the slice, by one composed interpolation.

segment_anything enlarges each mask to the encoder's square, cuts the padding off and resizes again
to the image. Both steps are bilinear, so along each axis they are one matrix with at most three
neighbouring entries a row; the square in between is never made.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_matrix(low: int, square: int, used: int, size: int) -> Tensor:
    """The map along one axis, float32 [size, low].

    Parameters
    ----------
    low
        Length of the decoder's masks.
    square
        Side of the encoder's input, to which they are enlarged.
    used
        How much of it is the image, the rest being padding.
    size
        Length of the image.
    """
    identity = torch.eye(low, dtype=torch.float64)[None]
    enlarged = F.interpolate(identity, square, mode="linear", align_corners=False)[..., :used]
    return F.interpolate(enlarged, size, mode="linear", align_corners=False)[0].T.float()


class MaskResize:
    """Resizes masks of one image size: see `Sam.postprocess_masks`, whose result this is."""

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
        self.columns = columns.T.contiguous().to(device)
        taps = min(3, low[0])
        first = (rows != 0).int().argmax(dim=1).clamp(max=low[0] - taps)
        index = first[:, None] + torch.arange(taps)
        self.rows = index.T.contiguous().to(device)
        self.weights = rows.gather(1, index).T[..., None].contiguous().to(device)

    def __call__(self, logits: Tensor) -> Tensor:
        """[N, H, W] from [N, h, w]."""
        wide = logits @ self.columns
        out = wide.index_select(1, self.rows[0]) * self.weights[0]
        for row, weight in zip(self.rows[1:], self.weights[1:], strict=True):
            out.addcmul_(wide.index_select(1, row), weight)
        return out
