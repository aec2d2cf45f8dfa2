"""Meta's image encoder, with its weights and its numbers, for less time and memory.

segment_anything looks the relative positions of a block up anew for each image, on the CPU, and
writes a block's attention [heads, tokens, tokens] six times. Here they are looked up once. In
float32 the attention is written twice. In half precision it is never written: a score

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
    q, k, v = qkv.permute(2, 0, 3, 1, 4).flatten(1, 2)
    if positions is None:
        x = F.scaled_dot_product_attention(q, k, v, scale=attention.scale)
    else:
        at = q.unflatten(1, (height, width))
        rows = torch.einsum("bhwc,hkc->bhwk", at, positions[0]).contiguous()
        columns = torch.einsum("bhwc,wkc->bhwk", at, positions[1]).contiguous()
        attend = _attend if x.dtype == torch.float32 else _attend_fused
        x = attend(q * attention.scale, k, v, rows, columns)
    x = x.unflatten(0, (batch, -1)).transpose(1, 2).reshape(batch, height, width, -1)
    return attention.proj(x)


def _attend(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Attention [N, H W, d] with scores for a key's row and column, [N, H, W, H or W]."""
    scores = (rows[..., :, None] + columns[..., None, :]).flatten(3).flatten(1, 2)
    return torch.softmax(scores.baddbmm_(q, k.mT), dim=-1) @ v


def _attend_fused(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The same without the array of scores (see the module's docstring)."""
    height, width = rows.shape[-1], columns.shape[-1]
    row = torch.eye(height, dtype=k.dtype, device=k.device).repeat_interleave(width, 0)
    column = torch.eye(width, dtype=k.dtype, device=k.device).repeat(height, 1)
    q = torch.cat([q, rows.flatten(1, 2), columns.flatten(1, 2)], dim=-1)
    k = torch.cat([k, torch.cat([row, column], 1).expand(len(k), -1, -1)], dim=-1)
    # fused kernels take vectors of one length, a multiple of eight
    length = -(-q.shape[-1] // 8) * 8
    size = v.shape[-1]
    q, k, v = (F.pad(each, (0, length - each.shape[-1]))[None] for each in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)[0, ..., :size]
