"""The compact DINO: a vision transformer small enough to ship, for the features of ROIs (eq. 4).

It is a timm `VisionTransformer` with patches of 8 px and replaces the paper's ViT-S/8 without other
changes: grey slices repeated to RGB, ImageNet mean and standard deviation, normed patch tokens. It
differs from ViT-S/8 in two ways. Its width is 192 instead of 384, and it has half the depth. And
three strided convolutions embed the patches instead of one linear map (Xiao et al., "Early
convolutions help transformers see better", 2021): they train several times faster, and the features
mainly describe texture.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from timm.layers import LayerNorm2d, PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from umsam.errors import InputError

PATCH = 8
EMBED_DIM = 192
DEPTH = 6
HEADS = 3
TRAINED_SIZE = 64  # side of the global crops in training, px; other sizes interpolate positions


class ConvolutionalPatchEmbed(PatchEmbed):
    """Embeds patches of 8 px with three strided convolutions: [B, 3, H, W] -> [B, H/8, W/8, C]."""

    def __init__(self, *, in_chans: int = 3, embed_dim: int = EMBED_DIM, **kwargs: Any) -> None:
        super().__init__(in_chans=in_chans, embed_dim=embed_dim, **kwargs)
        widths = (in_chans, embed_dim // 6, embed_dim // 3, 2 * embed_dim // 3)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1),
                LayerNorm2d(after),
                nn.GELU(),
            ]
        last = nn.Conv2d(widths[-1], embed_dim, kernel_size=1)
        self.proj = nn.Sequential(*layers, last)  # type: ignore[assignment]  # timm: a Conv2d


def build_compact_dino(checkpoint: Path | str | None) -> VisionTransformer:
    """Build the compact DINO in evaluation mode, in float32.

    It takes [B, 3, H, W] with H and W multiples of 8; `forward_features` returns
    [B, 1 + H/8 * W/8, 192] (class token first, normed). If `checkpoint` is None, the weights are
    random, as pretraining and tests need them.

    Raises `InputError` if the checkpoint is missing or holds another model.
    """
    model = VisionTransformer(
        img_size=TRAINED_SIZE,
        patch_size=PATCH,
        embed_dim=EMBED_DIM,
        depth=DEPTH,
        num_heads=HEADS,
        num_classes=0,
        dynamic_img_size=True,
        embed_layer=ConvolutionalPatchEmbed,
    )
    if checkpoint is not None:
        model.load_state_dict(_read_state(Path(checkpoint), model))
    return model.eval()


def save_compact_dino(model: nn.Module, path: Path | str) -> None:
    """Write only the weights, in half precision, in the format that `load_dino` reads."""
    state = {name: value.detach().cpu().half() for name, value in model.state_dict().items()}
    torch.save(state, path)


def _read_state(path: Path, model: nn.Module) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise InputError(
            f"{path}: no such file. The compact DINO ships as resources/compact_dino.pt: leave "
            "dino.checkpoint null to use it, or train one with the target pretrain_dino."
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    expected = {name: value.shape for name, value in model.state_dict().items()}
    actual = (
        {name: getattr(value, "shape", None) for name, value in state.items()}
        if isinstance(state, dict)
        else {}
    )
    if actual != expected:
        differing = sorted(
            name
            for name in expected.keys() | actual.keys()
            if expected.get(name) != actual.get(name)
        )
        raise InputError(
            f"{path}: not a compact DINO checkpoint ({len(differing)} entries differ; the first is "
            f"{differing[0]!r}). To use other DINO weights, set dino.model to their timm name."
        )
    return {name: value.float() for name, value in state.items()}
