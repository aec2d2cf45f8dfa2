"""The decoder network: SAM's features and the image in, logits of the target out."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 16
DROPOUT = 0.3


class Decoder(nn.Module):
    """A small network on a grid that is finer than SAM's embedding.

    SAM's embedding tells what is where, but its cells are coarse. The image contributes the edges.

    Parameters
    ----------
    dimension
        Number of channels D of SAM's features.
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.embedding = nn.Sequential(
            nn.BatchNorm2d(dimension, affine=False),
            nn.Conv2d(dimension, WIDTH, 1),
            nn.ReLU(),
            nn.Dropout2d(DROPOUT),
        )
        self.edges = nn.Sequential(_convolution(1, 8), _convolution(8, 8))
        self.coarse = nn.Sequential(nn.MaxPool2d(2), _convolution(8, 16))
        self.join_coarse = _convolution(WIDTH + 16, WIDTH)
        self.join_edges = _convolution(WIDTH + 8, 16)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """Compute the logits of a batch.

        Parameters
        ----------
        features
            SAM's features [B, D, h, w].
        image
            The image on the decoder's grid [B, S, S]; NaN outside the view.

        Returns
        -------
        Tensor
            Logits of the target [B, S, S].
        """
        image = image.nan_to_num()[:, None].contiguous(memory_format=torch.channels_last)
        edges = self.edges(image)
        coarse = self.coarse(edges)
        x = enlarge(self.embedding(features), coarse.shape[-2:])
        x = self.join_coarse(torch.cat([x, coarse], dim=1))
        x = self.join_edges(torch.cat([enlarge(x, edges.shape[-2:]), edges], dim=1))
        return self.head(x)[:, 0]


def build_decoder(dimension: int) -> Decoder:
    """Build a decoder of features with `dimension` channels, in the memory format of its input."""
    decoder = Decoder(dimension)
    decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
    return decoder


def enlarge(x: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate maps [B, C, h, w] to `size`."""
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
