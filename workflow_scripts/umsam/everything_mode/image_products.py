"""The decoder's weights in the form that meets an image, and their products with its embedding.

The products are computed once per image and shared by all of its points. `point_decoder` computes
them; `factored_pixels` and `triton_pixels` use them.
"""

from dataclasses import dataclass

from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor


@dataclass(frozen=True)
class Projection:
    """An attention's projection W of the pixels to H heads of d dimensions.

    Attributes
    ----------
    weight
        W, [H d, D].
    constant
        W c + bias, [H, d]. The attention's values use it: they carry no positional encoding.
    position
        W c + bias + W times the positional encoding, [H, d, pixels].
    """

    weight: Tensor
    constant: Tensor
    position: Tensor

    def apply(self, shared: Tensor) -> "ProjectedImage":
        """Project the shared pixels E [D, pixels]."""
        embedding = (self.weight @ shared).unflatten(0, (len(self.constant), -1))
        return ProjectedImage(self, embedding, embedding + self.position)


@dataclass(frozen=True)
class ProjectedImage:
    """The shared pixels E of an image after a projection.

    `embedding` is W E, [H, d, pixels]; `at_positions` adds the projection's `position`.
    """

    projection: Projection
    embedding: Tensor
    at_positions: Tensor


@dataclass(frozen=True)
class LayerProducts:
    """The image's products for one layer of the transformer.

    Attributes
    ----------
    key, value
        For the tokens' attention to the pixels.
    query
        For the pixels' attention to the tokens; None after the last layer.
    overlaps
        Products of E with the bases of this layer and of earlier ones, each [H, d + 1, pixels].
    squared_norm
        Squared norm of each column of E after its mean is subtracted, [pixels].
    """

    key: ProjectedImage
    value: ProjectedImage
    query: ProjectedImage | None
    overlaps: list[Tensor]
    squared_norm: Tensor


@dataclass(frozen=True)
class ImageProducts:
    """All products of an image: per layer, and for the upscaling of masks.

    `upscaled` is the first upscaling convolution of E, [pixels, 4 x channels]; `size` is the height
    and width of the embedding.
    """

    layers: list[LayerProducts]
    upscaled: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class Upscaling:
    """The weights of the output upscaling, with its two transposed convolutions as matrices.

    Attributes
    ----------
    first
        [D, 4 x channels]; the columns are (row, column, channel) of the 2 x 2 pixels that replace a
        pixel.
    constant
        The first convolution's result for the pixels' constant c, plus its bias, [4 x channels].
    norm
        The layer norm between the convolutions.
    second, second_bias
        [channels, 4 x outputs] and [4 x outputs], with columns as in `first`.
    """

    first: Tensor
    constant: Tensor
    norm: LayerNorm2d
    second: Tensor
    second_bias: Tensor

    @property
    def channels(self) -> int:
        return len(self.second)

    @property
    def outputs(self) -> int:
        return self.second.shape[1] // 4
