"""Meta's image encoder with the same weights and numbers, in less time and memory.

For every image, segment_anything looks up a block's relative positions again, on the CPU, and
writes the block's attention [heads, tokens, tokens] six times. Here the positions are looked up
once, and the attention need not be written at all. The score of a query q and a key k is

    q k + (row terms of q)[row of k] + (column terms of q)[column of k]

This equals a single product of longer vectors if each key carries a one-hot code of its row and
column. So it is ordinary attention, for which PyTorch has fused kernels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import (
    Attention,
    get_rel_pos,
    window_partition,
    window_unpartition,
)
from torch import Tensor

RelativePositions = tuple[Tensor, Tensor]
"""Tables of rows [H, H, d] and columns [W, W, d], indexed by the query, then by the key."""


class ImageEncoder:
    """The forward pass of an encoder. Encoders other than Meta's transformer run unchanged."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.positions: list[RelativePositions | None] = []
        if isinstance(encoder, ImageEncoderViT):
            grid = encoder.img_size // encoder.patch_embed.proj.stride[0]
            for block in encoder.blocks:
                size = block.window_size or grid
                self.positions.append(_look_up_positions(block.attn, size))

    def encode(self, image: Tensor) -> Tensor:
        """Embed preprocessed images [B, 3, S, S] as [B, C, h, w]."""
        if not self.positions:
            return self.encoder(image)
        x = self.encoder.patch_embed(image)
        if self.encoder.pos_embed is not None:
            x = x + self.encoder.pos_embed
        for block, positions in zip(self.encoder.blocks, self.positions, strict=True):
            y = block.norm1(x)
            if torch.is_autocast_enabled(y.device.type):  # else windows are copied in float32
                y = y.to(torch.get_autocast_dtype(y.device.type))
            if block.window_size:
                size = y.shape[1:3]
                y, padded = window_partition(y, block.window_size)
            y = _attention(block.attn, positions, y)
            if block.window_size:
                y = window_unpartition(y, block.window_size, padded, size)
            x = x + y
            x = x + block.mlp(block.norm2(x))
        return self.encoder.neck(x.permute(0, 3, 1, 2))


def _look_up_positions(attention: Attention, size: int) -> RelativePositions | None:
    if not attention.use_rel_pos:
        return None
    rows = get_rel_pos(size, size, attention.rel_pos_h)
    return rows, get_rel_pos(size, size, attention.rel_pos_w)


def _attention(attention: Attention, positions: RelativePositions | None, x: Tensor) -> Tensor:
    """Apply attention within images or windows [B, H, W, C]."""
    batch, height, width, _ = x.shape
    qkv = attention.qkv(x).view(batch, height * width, 3, attention.num_heads, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    queries, keys = [q * attention.scale], [k]
    if positions is not None:
        q_grid = q.unflatten(2, (height, width))
        row_terms = torch.einsum("bnhwc,hkc->bnhwk", q_grid, positions[0])
        column_terms = torch.einsum("bnhwc,wkc->bnhwk", q_grid, positions[1])
        row_codes = torch.eye(height, dtype=k.dtype, device=k.device).repeat_interleave(width, 0)
        column_codes = torch.eye(width, dtype=k.dtype, device=k.device).repeat(height, 1)
        queries += [row_terms.flatten(2, 3), column_terms.flatten(2, 3)]
        keys += [codes.expand(*k.shape[:2], -1, -1) for codes in (row_codes, column_codes)]
    x = _attend(queries, keys, v)
    return attention.proj(x.transpose(1, 2).reshape(batch, height, width, -1))


def _attend(queries: list[Tensor], keys: list[Tensor], values: Tensor) -> Tensor:
    """Apply attention [B, heads, N, d] to queries and keys given as parts to concatenate."""
    if values.is_cuda and values.dtype == torch.float32:
        # The fused kernel emulates float32 products.
        return torch.softmax(torch.cat(queries, -1) @ torch.cat(keys, -1).mT, dim=-1) @ values
    # Fused kernels take vectors of one length, a multiple of eight.
    size = sum(part.shape[-1] for part in queries)
    length = -(-size // 8) * 8
    zeros = values.new_zeros(1).expand(*values.shape[:3], length)
    q, k, v = (
        torch.cat([*parts, zeros[..., sum(part.shape[-1] for part in parts) :]], dim=-1)
        for parts in (queries, keys, [values])
    )
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)[..., : values.shape[-1]]
