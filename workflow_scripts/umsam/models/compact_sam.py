"""The compact SAM: segment-anything's prompt encoder and mask decoder on a small encoder.

Everything except the encoder is segment_anything's own code, so its `SamPredictor` and
`SamAutomaticMaskGenerator` run on the model unmodified. The embedding has SAM's 256 channels, so
that prototype distillation compares it with the UNet's bottleneck without a projection. The encoder
takes images of 192 x 192 px; the embedding is 24 x 24 (stride 8), and the masks are 96 x 96 before
segment_anything resizes them.
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

    def __init__(self, channels: int, dilation: int = 1) -> None:
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
    """A 3 x 3 convolution of stride 2 with group norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False),
            _norm(out_channels),
            nn.ReLU(),
        )


class CompactEncoder(nn.Module):
    """Plain convolutions: [B, 3, S, S] to [B, 256, S / 8, S / 8], S a multiple of 32.

    Coarse stages (strides 16 and 32) provide the wide context that separates an object from its
    surroundings. They are added to the stride-8 map, as in a feature pyramid.
    """

    def __init__(
        self,
        img_size: int = IMAGE_SIZE,
        widths: tuple[int, ...] = (32, 64, 128, 192, 192),
        depths: tuple[int, ...] = (0, 2, 3, 2, 1),
    ) -> None:
        super().__init__()
        self.img_size = img_size
        stages, channels = [], 3
        for width, depth in zip(widths, depths, strict=True):
            stages.append(
                nn.Sequential(
                    Downsample(channels, width), *(ResidualBlock(width) for _ in range(depth))
                )
            )
            channels = width
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
        pyramid = self.lateral[0](F.avg_pool2d(maps[1], 2)) + self.lateral[1](maps[2])
        for lateral, coarse in zip(self.lateral[2:], maps[3:], strict=True):
            pyramid = pyramid + F.interpolate(
                lateral(coarse), size=size, mode="bilinear", align_corners=False
            )
        return self.neck(pyramid)


def _attend_to_the_prompt(sam: Sam) -> None:
    """Initialise the decoder so that its tokens read the image at their prompt.

    A randomly initialised decoder needs thousands of images to learn what a prompt is. Tokens and
    pixels carry the same positional encoding. So three measures suffice: the query and key
    projections are tied, the first self-attention passes the prompt's encoding to every token, and
    the learned embeddings are small relative to it.
    """
    # Narrow the kernel of the random Fourier features from two embedding cells to one.
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
    """Build the compact SAM in evaluation mode, in float32.

    Without a checkpoint the weights are random, drawn from torch's global generator. Raises torch's
    RuntimeError if the file does not hold this architecture.
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
        _attend_to_the_prompt(sam)
    else:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        sam.load_state_dict({name: value.float() for name, value in state.items()})
    return sam.eval()


def save_compact_sam(sam: Sam, path: Path | str) -> None:
    """Write the weights in half precision, the format of resources/compact_sam.pt."""
    torch.save({name: value.half().cpu() for name, value in sam.state_dict().items()}, path)
