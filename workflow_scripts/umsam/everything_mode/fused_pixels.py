"""`Pixels` for a GPU: what is done with a pixel is done while it is in the registers.

The arrays of all heads, tokens and pixels, which `Pixels` writes and reads again at each step of
its arithmetic, are read once a pass or never exist (`pixel_kernels.py`). Of them only the mixtures
are kept, in half of the bytes: products are of float16, a decoder's numbers being not large.
"""

import logging
from typing import Any

import torch
import torch.nn.functional as F
import triton.language as tl
from segment_anything.modeling import Sam
from torch import Tensor, nn

from umsam.everything_mode import pixel_kernels as kernels
from umsam.everything_mode.image_terms import ImageTerms, LayerTerms, Projected, Upscaling
from umsam.everything_mode.pixels import Pixels, heads
from umsam.everything_mode.point_decoder import PointDecoder

DEPTH = 2  # of all of SAM's decoders
SPAN = 1024  # pixels of a program

log = logging.getLogger(__name__)


def runs(sam: Sam) -> bool:
    """Whether the kernels know the model's decoder, and its GPU can run them.

    They need a C compiler when first used, and more on-chip memory than small GPUs have.
    """
    if not _known(sam):
        return False
    grid = sam.prompt_encoder.image_embedding_size
    channels, device = sam.prompt_encoder.embed_dim, sam.device
    try:
        decoder = PointDecoder(sam, FusedPixels)
        image = decoder.image_terms(torch.zeros(channels, *grid, device=device))
        decoded = decoder.decode(image, torch.zeros(1, 2, channels, device=device))
        wanted = torch.ones_like(decoded.predicted_iou, dtype=torch.bool)
        decoder.mask_logits(image, decoded, wanted)
    except Exception as error:  # whatever a compiler or a driver may say
        log.warning(
            "everything mode decodes without its GPU kernels, about four times slower: %s",
            str(error).splitlines()[0] if str(error) else type(error).__name__,
        )
        return False
    return True


def _known(sam: Sam) -> bool:
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
        and attention.num_heads * _power_of_two(decoder.num_mask_tokens + 3) >= 16
        and min(attention.internal_dim, first.out_channels) >= 16
        and decoder.num_multimask_outputs <= 4
    )


class FusedPixels(Pixels):
    """See `Pixels`; T is filled up to a power of two with tokens of which no pixel takes any.

    `mixtures` is one array [P, DEPTH, H T, pixels], of which `layers` layers are there, and `scale`
    is s [P, pixels]. `kept` is the type of the mixtures and of all factors.
    """

    def __init__(self, kept: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.kept = kept
        self.scale: Tensor | None = None
        self.layers, self.length = 0, 0

    def attend(self, queries: Tensor, terms: LayerTerms) -> Tensor:
        tokens = queries.shape[2]
        self.length = self.length or _power_of_two(tokens)  # all have as many rows as the first
        queries = _filled(queries, self.length)
        sizes = _sizes(queries)
        rows, pixels = sizes["R"], terms.square.numel()
        seen = torch.stack(self._seen(queries, terms.key), 1) if self.layers else None
        found = torch.empty_like(queries)
        mixed = queries.new_empty(len(queries), self.layers, rows, rows)
        kernels.attend[(len(queries),)](
            queries, seen, *map(self._kept, self._of(terms.key)),
            self._kept(terms.value.embedding), self.mixtures if self.layers else None, self.scale,
            found, mixed, pixels, LAYERS=self.layers, DEPTH=DEPTH, **sizes, **self._how(),
        )  # fmt: skip
        for layer, b in enumerate(self.vectors):
            values = heads(b @ terms.value.by.weight.T, queries.shape[1])
            found += mixed[:, layer].view(*queries.shape[:3], rows) @ values
        return (found + terms.value.by.constant[:, None])[:, :, :tokens]

    def update(
        self, keys: Tensor, values: Tensor, basis: Tensor, terms: LayerTerms, norm: nn.LayerNorm
    ) -> None:
        tokens, pixels = keys.shape[2], terms.square.numel()
        keys, values = (_filled(each, self.length) for each in (keys, values))
        sizes = _sizes(keys)
        if not self.layers:
            shape = (len(keys), DEPTH, sizes["R"], pixels)
            self.mixtures = keys.new_empty(shape, dtype=self.kept)
        seen = self._seen(keys, terms.query)[0] if self.layers else None
        grid = (len(keys), -(-pixels // SPAN))
        kernels.mix[grid](
            keys, seen, *map(self._kept, self._of(terms.query)), self.scale, self.mixtures, pixels,
            LAYERS=self.layers, DEPTH=DEPTH, TOKENS=tokens, SPAN=SPAN, **sizes, **self._how(),
        )  # fmt: skip
        self.add_vectors(values, basis)
        coordinates = [c[..., :-1].contiguous() for c in self.coordinates]
        overlaps = [self._kept(each) for each in terms.overlaps]
        first, last = self.vectors[0], self.vectors[-1]
        grams = [first @ first.mT, 2 * (last @ first.mT), last @ last.mT][: 1 + 2 * self.layers]
        grams = torch.stack(grams, 1) / len(norm.weight)
        scale = keys.new_empty(len(keys), pixels)
        kernels.normalise[grid](
            terms.square, overlaps[0], overlaps[-1], coordinates[0], coordinates[-1],
            grams, self.mixtures, self.scale, scale, pixels, norm.eps,
            LAYERS=self.layers, DEPTH=DEPTH, CHANNELS=len(norm.weight), SPAN=SPAN, **sizes,
            **self._how(),
        )  # fmt: skip
        self.scale, self.layers = scale, self.layers + 1
        self.vectors = [b * norm.weight for b in self.vectors]

    def mask_logits(
        self, image: ImageTerms, upscaling: Upscaling, hyper: Tensor, wanted: Tensor
    ) -> Tensor:
        h, w = image.size
        places = torch.where(wanted, wanted.flatten().cumsum(0).view_as(wanted) - 1, -1)
        masks = hyper.new_empty(int(wanted.sum()), 16 * h * w)
        vectors = torch.stack([upscaling.first.T @ b.mT for b in self.vectors], 1)
        kernels.upscale[(len(hyper), -(-h * w // SPAN), 4)](
            places.int(), self._kept(image.upscaled.T.contiguous()), self.mixtures,
            self._kept(vectors), self.scale, upscaling.constant, upscaling.norm.weight,
            upscaling.norm.bias, self._kept(upscaling.second.T.contiguous()),
            upscaling.second_bias, hyper.contiguous(), masks, h * w, w, upscaling.norm.eps,
            R=vectors.shape[3], CHANNELS=upscaling.channels,
            OUTPUTS=upscaling.outputs, MASKS=hyper.shape[1], SPAN=SPAN, **self._how(),
        )  # fmt: skip
        return masks.view(-1, 4 * h, 4 * w)

    def _seen(self, tokens: Tensor, projected: Projected) -> list[Tensor]:
        """Products of tokens [P, H, T, d] with each layer's vectors, [P, H T, H T]."""
        seen = [heads(b @ projected.by.weight.T, tokens.shape[1]) for b in self.vectors]
        return [(tokens @ s.mT).flatten(1, 2) for s in seen]

    def _of(self, projected: Projected) -> tuple[Tensor, Tensor]:
        return projected.embedding, projected.by.position

    def _kept(self, array: Tensor) -> Tensor:
        return array.to(self.kept)

    def _how(self) -> dict[str, Any]:
        """Arguments of every launch."""
        half = self.kept == torch.float16
        return {
            "BLOCK": 64 if half else 32,  # pixels that fit at a time
            "MULTIPLY": tl.float16 if half else tl.float32,
            "num_warps": 4,
            "num_stages": 1,  # loads ahead take more of the cache than they save
        }


def _sizes(tokens: Tensor) -> dict[str, int]:
    """Of filled tokens [P, H, T, d], by the kernels' names."""
    _, count, length, size = tokens.shape
    return {"R": count * length, "T": length, "WIDTH": count * size, "D": size}


def _filled(tokens: Tensor, length: int) -> Tensor:
    """[P, H, T, d] with T filled up by zeros."""
    return F.pad(tokens, (0, 0, 0, length - tokens.shape[2])).contiguous()


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
