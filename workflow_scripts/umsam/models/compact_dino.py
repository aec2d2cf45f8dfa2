"""The compact DINO: a vision transformer small enough to ship, for features of ROIs (eq. 4).

A timm `VisionTransformer` with patches of 8 px, so it serves wherever the paper's ViT-S/8 does:
grey slices repeated to RGB, ImageNet mean and standard deviation, normed patch tokens. Two things
differ from a ViT-S/8: width 192 instead of 384 and half the depth; and the patches are embedded by
three strided convolutions instead of one linear map (Xiao et al., "Early convolutions help
transformers see better", 2021), because that trains several times faster and texture is what the
features are for.
"""

from itertools import pairwise
from pathlib import Path

import torch
from timm.layers import LayerNorm2d, PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from umsam.errors import InputError

PATCH = 8
EMBED_DIM = 192
DEPTH = 6
HEADS = 3
TRAINED_SIZE = 64  # side of the global crops in training, px; elsewhere positions are interpolated


class ConvolutionalPatchEmbed(PatchEmbed):
    """Patches of 8 px through three convolutions of stride 2: [B, 3, H, W] -> [B, H/8, W/8, C]."""

    def __init__(self, *, in_chans: int = 3, embed_dim: int = EMBED_DIM, **kwargs: object) -> None:
        super().__init__(in_chans=in_chans, embed_dim=embed_dim, **kwargs)
        widths = (in_chans, embed_dim // 6, embed_dim // 3, 2 * embed_dim // 3)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1),
                LayerNorm2d(after),
                nn.GELU(),
            ]
        self.proj = nn.Sequential(*layers, nn.Conv2d(widths[-1], embed_dim, kernel_size=1))


def build_compact_dino(checkpoint: Path | str | None) -> VisionTransformer:
    """The compact DINO in evaluation mode, in float32.

    Takes [B, 3, H, W] with H and W multiples of 8; `forward_features` gives [B, 1 + H/8 * W/8, 192]
    (class token first, normed). With `checkpoint` None the weights are random, for pretraining and
    tests.

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
        model.load_state_dict(_state(Path(checkpoint), model))
    return model.eval()


def save_weights(model: nn.Module, path: Path | str) -> None:
    """Write the weights alone, in half precision, for `load_dino` to read."""
    state = {name: value.detach().cpu().half() for name, value in model.state_dict().items()}
    torch.save(state, path)


def _state(path: Path, model: nn.Module) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise InputError(
            f"{path}: no such file. The compact DINO ships as resources/compact_dino.pt; "
            "set dino.checkpoint to it, or train one with the target pretrain_dino."
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    expected = {name: value.shape for name, value in model.state_dict().items()}
    found = (
        {name: getattr(value, "shape", None) for name, value in state.items()}
        if isinstance(state, dict)
        else {}
    )
    if found != expected:
        differing = sorted(
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        )
        raise InputError(
            f"{path}: not a compact DINO checkpoint ({len(differing)} entries differ, the first is "
            f"{differing[0]!r}). For other DINO weights set dino.model to their timm name."
        )
    return {name: value.float() for name, value in state.items()}
