"""Forward passes for training: a batch of images with several prompts each."""

import math

import torch
from segment_anything.modeling import MaskDecoder, Sam
from segment_anything.modeling.transformer import Attention
from torch import nn
from torch.nn import functional as F

from umsam.models.compact_sam import CHANNELS, PIXEL_MEAN, PIXEL_STD


def encode(sam: Sam, image: torch.Tensor) -> torch.Tensor:
    """The embedding [B, 256, S / 8, S / 8] of images [B, S, S] in [0, 1]."""
    x = ((image * 255 - PIXEL_MEAN) / PIXEL_STD)[:, None].expand(-1, 3, -1, -1)
    return sam.image_encoder(x.contiguous(memory_format=torch.channels_last))


def encode_positions(sam: Sam, coords: torch.Tensor, size: int) -> torch.Tensor:
    """The prompt encoder's encoding [..., 256] of pixel coordinates [..., 2] (x, y), in float32."""
    with torch.autocast(coords.device.type, enabled=False):
        flat = (coords + 0.5).reshape(1, -1, 2)
        encoded = sam.prompt_encoder.pe_layer.forward_with_coords(flat, (size, size))
    return encoded.reshape(*coords.shape[:-1], -1)


def _repeat(x: torch.Tensor, times: int) -> torch.Tensor:
    """`repeat_interleave` along the first axis; its gradient is a plain sum."""
    return x[:, None].expand(-1, times, *x.shape[1:]).flatten(0, 1) if times > 1 else x


def _heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[n, tokens, channels] to [n, heads, tokens, channels / heads]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _attend(block: Attention, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """segment_anything's attention after the input projections."""
    q, k, v = (_heads(x, block.num_heads) for x in (q, k, v))
    weight = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).softmax(-1)
    return block.out_proj((weight.to(v.dtype) @ v).transpose(1, 2).flatten(2))


def _upscale(decoder: MaskDecoder, x: torch.Tensor) -> torch.Tensor:
    """The decoder's transposed convolutions as matrix products.

    Maps [n, pixels, C] to [n, pixels, 16, C / 8]. Kernel size equals stride, so each pixel becomes
    4 and then 16 pixels independently of its neighbours, and the layer norm acts on the last axis.
    """
    first, norm, _, second, _ = decoder.output_upscaling
    x = x @ first.weight.permute(0, 2, 3, 1).flatten(1) + first.bias.repeat(4)
    x = x.unflatten(-1, (4, -1))
    x = F.gelu(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = x @ second.weight.permute(0, 2, 3, 1).flatten(1) + second.bias.repeat(4)
    return F.gelu(x.unflatten(-1, (4, -1)).flatten(2, 3))


def _unfold(x: torch.Tensor, h: int, w: int) -> torch.Tensor:
    """[n, m, h * w, 16], in the order of `_upscale`, to images [n, m, 4h, 4w]."""
    x = x.reshape(*x.shape[:2], h, w, 2, 2, 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
    return x.reshape(*x.shape[:2], 4 * h, 4 * w)


def upscale_embedding(decoder: MaskDecoder, embedding: torch.Tensor) -> torch.Tensor:
    """`decoder.output_upscaling`: [B, 256, h, w] to [B, 32, 4h, 4w]."""
    fine = _upscale(decoder, embedding.flatten(2).transpose(1, 2)).permute(0, 3, 1, 2)
    return _unfold(fine, *embedding.shape[-2:])


def decode(
    sam: Sam, embedding: torch.Tensor, coords: torch.Tensor, labels: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """segment_anything's decoder for P prompts on each of B images.

    Computes the same as `MaskDecoder.predict_masks`, but faster for several prompts: what does not
    depend on the prompt is computed once per image.

    embedding: [B, 256, h, w].
    coords, labels: [B, P, 2, 2] and [B, P, 2], as in `make_sample`.
    size: side of the images in pixels.
    Returns the logits [B * P, 4, 4h, 4w] and the predicted IoU [B * P, 4], where output 0 is the
    single-mask output, and the vectors [B * P, 4, 32] whose products with the upscaled embedding
    are the logits.
    """
    prompt, decoder = sam.prompt_encoder, sam.mask_decoder
    transformer = decoder.transformer
    b, p = labels.shape[:2]
    h, w = embedding.shape[-2:]
    learned = (prompt.not_a_point_embed, *prompt.point_embeddings)
    table = torch.cat([embedding.weight for embedding in learned])
    sparse = encode_positions(sam, coords, size) * (labels >= 0)[..., None] + table[labels + 1]
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([tokens.expand(b * p, -1, -1), sparse.view(b * p, 2, CHANNELS)], 1)
    with torch.autocast(embedding.device.type, enabled=False):
        place = prompt.pe_layer((h, w)).flatten(1).T[None]
    image = (embedding + prompt.no_mask_embed.weight.view(1, -1, 1, 1)).flatten(2).transpose(1, 2)

    queries, keys, prompts_per_row = tokens, image, p  # prompts that share a row of keys
    for layer in transformer.layers:
        read, write = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
        at = queries if layer.skip_first_layer_pe else queries + tokens
        attended = layer.self_attn(q=at, k=at, v=queries)
        queries = layer.norm1(attended if layer.skip_first_layer_pe else queries + attended)
        k = read.k_proj(keys) + F.linear(place, read.k_proj.weight)
        v = read.v_proj(keys)
        q = write.q_proj(keys) + F.linear(place, write.q_proj.weight)
        k, v, q = (_repeat(x, prompts_per_row) for x in (k, v, q))
        queries = layer.norm2(queries + _attend(read, read.q_proj(queries + tokens), k, v))
        queries = layer.norm3(queries + layer.mlp(queries))
        update = _attend(write, q, write.k_proj(queries + tokens), write.v_proj(queries))
        keys = layer.norm4(_repeat(keys.to(update.dtype), prompts_per_row) + update)
        prompts_per_row = 1
    last = transformer.final_attn_token_to_image
    k = last.k_proj(keys) + F.linear(place, last.k_proj.weight)
    queries = queries + _attend(last, last.q_proj(queries + tokens), k, last.v_proj(keys))
    queries = transformer.norm_final_attn(queries)
    vectors = torch.stack(
        [mlp(queries[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], 1
    )
    fine = _upscale(decoder, keys)
    masks = (fine.flatten(1, 2) @ vectors.transpose(1, 2)).transpose(1, 2)
    score = decoder.iou_prediction_head(queries[:, 0])
    return _unfold(masks.unflatten(-1, (h * w, 16)), h, w), score, vectors


class AnchorMasks(nn.Module):
    """Auxiliary head: masks of anchor points from the embedding, without the decoder.

    A small network maps the features and the position of an anchor to three vectors. The logits are
    the products of these vectors with the upscaled embedding, plus a term that decreases with the
    distance from the anchor. The head is discarded after training.
    """

    def __init__(self) -> None:
        super().__init__()
        self.width = CHANNELS // 8
        first = nn.Linear(2 * CHANNELS + self.width, 256)
        last = nn.Linear(256, 3 * (self.width + 2))
        self.network = nn.Sequential(first, nn.ReLU(), last)
        nn.init.normal_(last.weight, std=0.02)

    def forward(
        self,
        embedding: torch.Tensor,
        upscaled: torch.Tensor,
        position: torch.Tensor,
        anchor: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [B, A, 3, 4h, 4w] and vectors [B, A, 3, 32].

        embedding, upscaled: [B, 256, h, w] and [B, 32, 4h, 4w].
        position: [B, A, 256], from `encode_positions`.
        anchor: [B, A, 2], (x, y) in [0, 1].
        """
        grid = (anchor * 2 - 1)[:, :, None]
        here = F.grid_sample(embedding.float(), grid, align_corners=False)[..., 0].transpose(1, 2)
        fine = F.grid_sample(upscaled.float(), grid, align_corners=False)[..., 0].transpose(1, 2)
        out = self.network(torch.cat([here, position, fine], -1)).float()
        b, a, _ = out.shape
        h, w = upscaled.shape[-2:]
        out = out.view(b, a, 3, self.width + 2)
        vector = fine[:, :, None] + out[..., : self.width]
        logits = (vector.reshape(b, a * 3, -1) @ upscaled.float().flatten(2)).view(b, a, 3, h, w)
        ys = (torch.arange(h, device=anchor.device) + 0.5) / h
        xs = (torch.arange(w, device=anchor.device) + 0.5) / w
        dy = (ys[None, None] - anchor[..., 1:]).square()[..., :, None]
        dx = (xs[None, None] - anchor[..., :1]).square()[..., None, :]
        reach = 40 * F.softplus(out[..., -2])
        logits = logits - reach[..., None, None] * (dy + dx)[:, :, None] + out[..., -1, None, None]
        return logits, vector
