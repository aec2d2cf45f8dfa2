"""What an image's embedding is to the decoder of points: its products with the decoder's weights.

They are worked out once an image and shared by all of its points (see `point_decoder.py`).
"""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Projection:
    """An attention's projection W of the pixels to H heads of d dimensions, the same for any image.

    `weight` is W [H d, D]; `constant` is W c + bias [H, d], for attention's values, which see no
    position; `position` [H, d, pixels] adds W times the positional encoding.
    """

    weight: Tensor
    constant: Tensor
    position: Tensor

    def of(self, shared: Tensor) -> "Projected":
        """See E [D, pixels] through it."""
        embedding = (self.weight @ shared).unflatten(0, (len(self.constant), -1))
        return Projected(self, embedding, embedding + self.position)


@dataclass(frozen=True)
class Projected:
    """An image's E through a projection: W E [H, d, pixels], and the same with the positions."""

    by: Projection
    embedding: Tensor
    at_positions: Tensor


@dataclass(frozen=True)
class LayerTerms:
    """What one layer needs of the image."""

    key: Projected
    value: Projected
    query: Projected | None  # None after the last layer, whose pixels ask nothing
    overlaps: list[Tensor]  # of the bases of this layer and earlier ones with E, [H, d + 1, pixels]
    square: Tensor  # of the columns of E without mean, [pixels]


@dataclass(frozen=True)
class ImageTerms:
    """An image's embedding as the decoder uses it, shared by all points."""

    layers: list[LayerTerms]
    upscaled: Tensor  # the first upscaling convolution of E, [pixels, 4 x channels]
    size: tuple[int, int]


@dataclass(frozen=True)
class Upscaling:
    """The output upscaling's weights, its two convolutions as matrices.

    `first` is [D, 4 x channels] and `second` [channels, 4 x outputs], whose columns are (row,
    column, channel) of the 2 x 2 pixels that a pixel becomes. `constant` is what the pixels'
    constant and the first bias give.
    """

    first: Tensor
    constant: Tensor
    norm: nn.Module
    second: Tensor
    second_bias: Tensor

    @property
    def channels(self) -> int:
        return len(self.second)

    @property
    def outputs(self) -> int:
        return self.second.shape[1] // 4
