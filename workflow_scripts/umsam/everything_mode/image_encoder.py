"""Meta's image encoder, with its weights and its numbers, for less time and memory.

segment_anything looks the relative positions of a block up anew for each image, on the CPU, and
writes a block's attention [heads, tokens, tokens] six times. Here they are looked up once, and the
attention need never be written: a score

    q k + (rows of q)[row of k] + (columns of q)[column of k]

is one product of longer vectors, of which the key's say by a one where it lies. So it is plain
attention, for which PyTorch has fused kernels.
"""

import torch
import torch.nn.functional as F
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import (
    Attention,
    get_rel_pos,
    window_partition,
    window_unpartition,
)
from torch import Tensor, nn

Positions = tuple[Tensor, Tensor]
"""Relative positions of rows [H, H, d] and of columns [W, W, d]: of a query, then of a key."""


class ImageEncoder:
    """An encoder's forward pass; one that is not Meta's transformer runs as it is."""

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder = encoder
        self.positions: list[Positions | None] = []
        if isinstance(encoder, ImageEncoderViT):
            grid = encoder.img_size // encoder.patch_embed.proj.stride[0]
            for block in encoder.blocks:
                self.positions.append(_positions(block.attn, block.window_size or grid))

    def encode(self, image: Tensor) -> Tensor:
        """Embedding [B, C, h, w] of preprocessed images [B, 3, S, S]."""
        if not self.positions:
            return self.encoder(image)
        x = self.encoder.patch_embed(image)
        if self.encoder.pos_embed is not None:
            x = x + self.encoder.pos_embed
        for block, positions in zip(self.encoder.blocks, self.positions, strict=True):
            y = block.norm1(x)
            if torch.is_autocast_enabled(y.device.type):  # else the windows are moved in float32
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


def _positions(attention: Attention, size: int) -> Positions | None:
    if not attention.use_rel_pos:
        return None
    tables = (attention.rel_pos_h, attention.rel_pos_w)
    return tuple(get_rel_pos(size, size, table) for table in tables)


def _attention(attention: Attention, positions: Positions | None, x: Tensor) -> Tensor:
    """Attention within images or windows [B, H, W, C]."""
    batch, height, width, _ = x.shape
    qkv = attention.qkv(x).view(batch, height * width, 3, attention.num_heads, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    queries, keys = [q * attention.scale], [k]
    if positions is not None:
        at = q.unflatten(2, (height, width))
        rows = torch.einsum("bnhwc,hkc->bnhwk", at, positions[0])
        columns = torch.einsum("bnhwc,wkc->bnhwk", at, positions[1])
        here = {"dtype": k.dtype, "device": k.device}
        row = torch.eye(height, **here).repeat_interleave(width, 0)
        column = torch.eye(width, **here).repeat(height, 1)
        queries += [rows.flatten(2, 3), columns.flatten(2, 3)]
        keys += [each.expand(*k.shape[:2], -1, -1) for each in (row, column)]
    x = _attend(queries, keys, v)
    return attention.proj(x.transpose(1, 2).reshape(batch, height, width, -1))


def _attend(queries: list[Tensor], keys: list[Tensor], values: Tensor) -> Tensor:
    """Attention [B, heads, N, d] of vectors that are given in parts."""
    if values.is_cuda and values.dtype == torch.float32:  # the fused kernel imitates its products
        return torch.softmax(torch.cat(queries, -1) @ torch.cat(keys, -1).mT, dim=-1) @ values
    # fused kernels take vectors of one length, a multiple of eight
    size = sum(part.shape[-1] for part in queries)
    length = -(-size // 8) * 8
    nothing = values.new_zeros(1).expand(*values.shape[:3], length)
    q, k, v = (
        torch.cat([*parts, nothing[..., sum(part.shape[-1] for part in parts) :]], dim=-1)
        for parts in (queries, keys, [values])
    )
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)[..., : values.shape[-1]]
