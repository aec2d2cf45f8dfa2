"""The compact SAM: segment-anything's prompt encoder and mask decoder on a small encoder.

Everything around the encoder is segment_anything's own code, so its `SamPredictor` and
`SamAutomaticMaskGenerator` run on it unmodified. The embedding has SAM's 256 channels, which lets
prototype distillation compare it with the UNet's bottleneck without a projection. Images are seen
at 192 x 192, the embedding is 24 x 24 (stride 8), masks come out at 96 x 96 and are resized by
segment_anything.
"""

from pathlib import Path

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from torch import nn
from torch.nn import functional as F

IMAGE_SIZE = 192
STRIDE = 8
CHANNELS = 256
PIXEL_MEAN, PIXEL_STD = 90.0, 64.0


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // 16, channels)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with group norm and a shortcut (post-activation, as in ResNet)."""

    def __init__(self, channels: int, dilation: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(
            channels, channels, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.norm1 = _norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = _norm(channels)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(x + self.norm2(self.conv2(y)))


class Downsample(nn.Sequential):
    def __init__(self, source: int, target: int):
        super().__init__(
            nn.Conv2d(source, target, 3, stride=2, padding=1, bias=False), _norm(target), nn.ReLU()
        )


class CompactEncoder(nn.Module):
    """Plain convolutions: [B, 3, S, S] to [B, 256, S / 8, S / 8], S a multiple of 32.

    Coarse stages (strides 16 and 32) carry the wide context an object needs to be told from its
    surroundings; they are merged back into the stride-8 map as in a feature pyramid.
    """

    def __init__(
        self,
        img_size: int = IMAGE_SIZE,
        widths: tuple[int, ...] = (32, 64, 128, 192, 192),
        depths: tuple[int, ...] = (0, 2, 3, 2, 1),
    ):
        super().__init__()
        self.img_size = img_size
        stages, source = [], 3
        for width, depth in zip(widths, depths, strict=True):
            stages.append(
                nn.Sequential(
                    Downsample(source, width), *(ResidualBlock(width) for _ in range(depth))
                )
            )
            source = width
        self.stages = nn.ModuleList(stages)
        self.lateral = nn.ModuleList(nn.Conv2d(width, CHANNELS, 1) for width in widths[1:])
        self.neck = nn.Sequential(
            LayerNorm2d(CHANNELS),
            nn.GELU(),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
            LayerNorm2d(CHANNELS),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        size = maps[2].shape[-2:]
        merged = self.lateral[0](F.avg_pool2d(maps[1], 2)) + self.lateral[1](maps[2])
        for lateral, coarse in zip(self.lateral[2:], maps[3:], strict=True):
            merged = merged + F.interpolate(
                lateral(coarse), size=size, mode="bilinear", align_corners=False
            )
        return self.neck(merged)


def _start_at_the_prompt(sam: Sam) -> None:
    """An initialisation from which the decoder's tokens read the image where their prompt lies.

    A randomly initialised decoder needs thousands of images to find out what a prompt is. Tokens
    and pixels carry the same positional encoding, so it is enough to tie the projections of queries
    and keys, to let the first self-attention hand the prompt's encoding to every token, and to keep
    the learned embeddings small beside it.
    """
    # a narrower kernel of the random Fourier features: one embedding cell, not two
    sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix *= 1.75
    decoder = sam.mask_decoder
    with torch.no_grad():
        for embedding in (
            *sam.prompt_encoder.point_embeddings,
            sam.prompt_encoder.not_a_point_embed,
            sam.prompt_encoder.no_mask_embed,
        ):
            embedding.weight *= 0.1
        for embedding in (decoder.iou_token, decoder.mask_tokens):
            embedding.weight *= 0.3
        for module in decoder.transformer.modules():
            if not hasattr(module, "q_proj") or module.internal_dim == module.embedding_dim:
                continue
            nn.init.orthogonal_(module.q_proj.weight, gain=2.5)
            module.k_proj.weight.copy_(module.q_proj.weight)
            nn.init.orthogonal_(module.v_proj.weight)
            module.out_proj.weight.copy_(module.v_proj.weight.T)
            for projection in (module.q_proj, module.k_proj, module.v_proj, module.out_proj):
                nn.init.zeros_(projection.bias)
        first = decoder.transformer.layers[0].self_attn
        for projection in (first.v_proj, first.out_proj):
            nn.init.eye_(projection.weight)
            nn.init.zeros_(projection.bias)


def build_compact_sam(checkpoint: Path | str | None = None) -> Sam:
    """The compact SAM in eval mode, fp32; without a checkpoint randomly initialised (global seed).

    Raises RuntimeError (torch's own) when the file does not hold this architecture.
    """
    grid = IMAGE_SIZE // STRIDE
    sam = Sam(
        image_encoder=CompactEncoder(),
        prompt_encoder=PromptEncoder(
            embed_dim=CHANNELS,
            image_embedding_size=(grid, grid),
            input_image_size=(IMAGE_SIZE, IMAGE_SIZE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2,
                embedding_dim=CHANNELS,
                mlp_dim=512,
                num_heads=4,
                attention_downsample_rate=4,
            ),
            transformer_dim=CHANNELS,
            iou_head_depth=3,
            iou_head_hidden_dim=CHANNELS,
        ),
        pixel_mean=[PIXEL_MEAN] * 3,
        pixel_std=[PIXEL_STD] * 3,
    )
    if checkpoint is None:
        _start_at_the_prompt(sam)
    else:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        sam.load_state_dict({name: value.float() for name, value in state.items()})
    return sam.eval()


def save_compact_sam(sam: Sam, path: Path | str) -> None:
    """Writes the weights in half precision, which is what the repository ships."""
    torch.save({name: value.half().cpu() for name, value in sam.state_dict().items()}, path)
