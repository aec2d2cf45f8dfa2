"""`FactoredPixels` for a GPU: Triton kernels do all arithmetic on a pixel while it is in registers.

`FactoredPixels` writes arrays over all heads, tokens and pixels, and reads them again, at every
step. Here the kernels of `triton_kernels` read each array once per pass or never form it. Only the
mixtures are stored, in float16, which halves their size; products also take float16 operands, whose
range suffices for a decoder's numbers.
"""

import logging
from typing import Any

import torch
import torch.nn.functional as F
import triton.language as tl
from segment_anything.modeling import Sam
from torch import Tensor, nn

from umsam.everything_mode import triton_kernels as kernels
from umsam.everything_mode.factored_pixels import FactoredPixels
from umsam.everything_mode.image_products import (
    ImageProducts,
    LayerProducts,
    ProjectedImage,
    Upscaling,
)
from umsam.everything_mode.point_decoder import PointDecoder

DEPTH = 2  # transformer layers of every SAM decoder
SPAN = 1024  # pixels per program

log = logging.getLogger(__name__)


def kernels_run(sam: Sam) -> bool:
    """Test whether the kernels support the model's decoder and run on its GPU.

    They need a C compiler at their first use, and more on-chip memory than small GPUs have.
    """
    if not _supports(sam):
        return False
    grid = sam.prompt_encoder.image_embedding_size
    channels, device = sam.prompt_encoder.embed_dim, sam.device
    try:
        decoder = PointDecoder(sam, TritonPixels)
        image = decoder.multiply_image(torch.zeros(channels, *grid, device=device))
        decoded = decoder.decode(image, torch.zeros(1, 2, channels, device=device))
        selection = torch.ones_like(decoded.predicted_iou, dtype=torch.bool)
        decoder.compute_mask_logits(image, decoded, selection)
    except Exception as error:  # a compiler or a driver may raise anything
        log.warning(
            "everything mode decodes without its GPU kernels, about four times slower: %s",
            str(error).splitlines()[0] if str(error) else type(error).__name__,
        )
        return False
    return True


def _supports(sam: Sam) -> bool:
    decoder = sam.mask_decoder
    attention = decoder.transformer.final_attn_token_to_image
    first, _, _, second, _ = decoder.output_upscaling
    sizes = (
        attention.num_heads, attention.internal_dim // attention.num_heads,
        first.out_channels, second.out_channels,
    )  # fmt: skip
    return (
        decoder.transformer.depth == DEPTH
        and all(size & (size - 1) == 0 for size in sizes)
        and attention.num_heads * _next_power_of_two(decoder.num_mask_tokens + 3) >= 16
        and min(attention.internal_dim, first.out_channels) >= 16
        and decoder.num_multimask_outputs <= 4
    )


class TritonPixels(FactoredPixels):
    """See `FactoredPixels`. T is padded to a power of two with tokens to which no pixel attends.

    Here the mixtures are a single array [P, DEPTH, H T, pixels] with `layers` valid layers, and
    `scale` is s, [P, pixels].

    Parameters
    ----------
    dtype
        Type of the mixtures and of all operands.
    """

    def __init__(self, dtype: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.dtype = dtype
        self.mixture_array: Tensor | None = None
        self.scale: Tensor | None = None
        self.layers, self.length = 0, 0

    def attend(self, queries: Tensor, products: LayerProducts) -> Tensor:
        tokens = queries.shape[2]
        self.length = self.length or _next_power_of_two(tokens)  # later layers have fewer tokens
        queries = _pad_tokens(queries, self.length)
        sizes = _kernel_sizes(queries)
        rows, pixels = sizes["R"], products.squared_norm.numel()
        vector_scores = None
        if self.layers:
            vector_scores = torch.stack(self._multiply_vectors(queries, products.key), 1)
        means = torch.empty_like(queries)
        mixture_means = queries.new_empty(len(queries), self.layers, rows, rows)
        kernels.attend[(len(queries),)](
            queries, vector_scores, *self._operands(products.key),
            self._cast(products.value.embedding), self.mixture_array if self.layers else None,
            self.scale, means, mixture_means, pixels,
            LAYERS=self.layers, DEPTH=DEPTH, **sizes, **self._launch_options(),
        )  # fmt: skip
        for layer, values in enumerate(self._project_vectors(products.value)):
            means += mixture_means[:, layer].view(*queries.shape[:3], rows) @ values
        return (means + products.value.projection.constant[:, None])[:, :, :tokens]

    def update(
        self,
        keys: Tensor,
        values: Tensor,
        basis: Tensor,
        products: LayerProducts,
        norm: nn.LayerNorm,
    ) -> None:
        query = products.query
        assert query is not None  # only the products after the last layer have none
        tokens, pixels = keys.shape[2], products.squared_norm.numel()
        keys, values = _pad_tokens(keys, self.length), _pad_tokens(values, self.length)
        sizes = _kernel_sizes(keys)
        if not self.layers:
            shape = (len(keys), DEPTH, sizes["R"], pixels)
            self.mixture_array = keys.new_empty(shape, dtype=self.dtype)
        vector_scores = self._multiply_vectors(keys, query)[0] if self.layers else None
        grid = (len(keys), -(-pixels // SPAN))
        kernels.mix[grid](
            keys, vector_scores, *self._operands(query), self.scale, self.mixture_array, pixels,
            LAYERS=self.layers, DEPTH=DEPTH, TOKENS=tokens, SPAN=SPAN, **sizes,
            **self._launch_options(),
        )  # fmt: skip
        self.add_vectors(values, basis)
        coordinates = [c[..., :-1].contiguous() for c in self.coordinates]
        overlaps = [self._cast(overlap) for overlap in products.overlaps]
        scale = keys.new_empty(len(keys), pixels)
        kernels.normalise[grid](
            products.squared_norm, overlaps[0], overlaps[-1], coordinates[0], coordinates[-1],
            self._gram_array(len(norm.weight)), self.mixture_array, self.scale, scale, pixels,
            norm.eps, LAYERS=self.layers, DEPTH=DEPTH, CHANNELS=len(norm.weight), SPAN=SPAN,
            **sizes, **self._launch_options(),
        )  # fmt: skip
        self.scale, self.layers = scale, self.layers + 1
        self.vectors = [b * norm.weight for b in self.vectors]

    def compute_mask_logits(
        self, image: ImageProducts, upscaling: Upscaling, hyper: Tensor, selection: Tensor
    ) -> Tensor:
        h, w = image.size
        rows = torch.where(selection, selection.flatten().cumsum(0).view_as(selection) - 1, -1)
        masks = hyper.new_empty(int(selection.sum()), 16 * h * w)
        vectors = torch.stack([upscaling.first.T @ b.mT for b in self.vectors], 1)
        kernels.upscale[(len(hyper), -(-h * w // SPAN), 4)](
            rows.int(), self._cast(image.upscaled.T.contiguous()), self.mixture_array,
            self._cast(vectors), self.scale, upscaling.constant, upscaling.norm.weight,
            upscaling.norm.bias, self._cast(upscaling.second.T.contiguous()),
            upscaling.second_bias, hyper.contiguous(), masks, h * w, w, upscaling.norm.eps,
            R=vectors.shape[3], CHANNELS=upscaling.channels, OUTPUTS=upscaling.outputs,
            MASKS=hyper.shape[1], SPAN=SPAN, **self._launch_options(),
        )  # fmt: skip
        return masks.view(-1, 4 * h, 4 * w)

    def _gram_array(self, channels: int) -> Tensor:
        """Return the products of the vectors, divided by the channels, for `normalise`."""
        first, last = self.vectors[0], self.vectors[-1]
        grams = [first @ first.mT, 2 * (last @ first.mT), last @ last.mT][: 1 + 2 * self.layers]
        return torch.stack(grams, 1) / channels

    def _operands(self, projected: ProjectedImage) -> tuple[Tensor, Tensor]:
        return self._cast(projected.embedding), self._cast(projected.projection.position)

    def _cast(self, array: Tensor) -> Tensor:
        return array.to(self.dtype)

    def _launch_options(self) -> dict[str, Any]:
        """Return the arguments that every launch takes."""
        half = self.dtype == torch.float16
        return {
            "BLOCK": 64 if half else 32,  # pixels that fit at a time
            "MULTIPLY": tl.float16 if half else tl.float32,
            "num_warps": 4,
            "num_stages": 1,  # prefetching takes more cache than it saves time
        }


def _kernel_sizes(tokens: Tensor) -> dict[str, int]:
    """Return the sizes of padded tokens [P, H, T, d] under the kernels' names."""
    _, count, length, size = tokens.shape
    return {"R": count * length, "T": length, "WIDTH": count * size, "D": size}


def _pad_tokens(tokens: Tensor, length: int) -> Tensor:
    """Pad the T tokens of [P, H, T, d] with zeros to `length`."""
    return F.pad(tokens, (0, 0, 0, length - tokens.shape[2])).contiguous()


def _next_power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
