"""Dense features of slices from a self-supervised vision transformer (the extractor of eq. 4).

DINO: Caron et al., "Emerging properties in self-supervised vision transformers", 2021; DINOv2:
Oquab et al., 2023. Both through timm, or the compact model of this project.
"""

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from umsam.checksums import check_sha256
from umsam.data.intensity import IMAGENET_MEAN, IMAGENET_STD, to_rgb_uint8
from umsam.errors import InputError, one_line
from umsam.models.matmul_precision import matmul_precision

IMAGE_SIZE = {"compact": 224}
OTHER_IMAGE_SIZE = 448
# What wraps a backbone in published checkpoints: training frameworks, and DINO's own teacher.
WRAPPED_IN = ("state_dict", "model", "teacher")
PREFIX = re.compile(r"^(?:(?:_orig_mod|module|backbone|teacher)\.)+")


@dataclass(frozen=True)
class Dino:
    """A vision transformer with the long side, in pixels, at which it sees a slice."""

    model: nn.Module
    image_size: int

    @property
    def patch(self) -> int:
        return self.model.patch_embed.patch_size[0]

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Patches along y and x of a slice: its long side at `image_size`, whole patches only."""
        scale = self.image_size / max(height, width) / self.patch
        return max(1, round(height * scale)), max(1, round(width * scale))


def load_dino(
    model: str,
    checkpoint: str | Path | None,
    device: str,
    image_size: int | None = None,
    sha256: str | None = None,
) -> Dino:
    """A transformer in evaluation mode on a device.

    Parameters
    ----------
    model
        compact, or the timm name of a vision transformer.
    checkpoint
        .pth (read with ``weights_only``) or .safetensors; None or an empty list lets timm fetch
        the weights of that name from its hub, or take them from the local cache
        (``HF_HUB_OFFLINE=1`` keeps it off the network).
    image_size
        None: 224 for compact, else 448.

    Raises
    ------
    InputError
        No such model, not a vision transformer, or its weights are missing or do not fit.
    """
    size = image_size or IMAGE_SIZE.get(model, OTHER_IMAGE_SIZE)
    path = Path(checkpoint) if checkpoint else None
    if path is not None:
        if not path.is_file():
            raise InputError(
                f"{path}: no such file. Set dino.checkpoint to the weights of {model!r}, or to "
                "null to take the shipped compact model or timm's hub."
            )
        check_sha256(path, sha256, "dino.sha256")
    if model == "compact":
        from umsam.models.compact_dino import build_compact_dino

        network = build_compact_dino(path or "resources/compact_dino.pt")
    else:
        network = _from_timm(model, path)
    return Dino(network.eval().to(device), size)


@torch.inference_mode()
def feature_maps(
    dino: Dino, volume: NDArray[np.floating], batch_size: int, device: str
) -> NDArray[np.float32]:
    """Normed patch tokens of slices as maps that cover the slices edge to edge.

    Parameters
    ----------
    volume
        [Z, H, W] in [0, 1].

    Returns
    -------
    float32 [Z, D, h, w].
    """
    maps = []
    for start in range(0, len(volume), batch_size):
        images = np.stack([to_rgb_uint8(image) for image in volume[start : start + batch_size]])
        pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
        with matmul_precision("fp32", device):
            maps.append(_tokens(dino, pixels).cpu().numpy())
    return np.concatenate(maps)


def to_half(maps: NDArray[np.float32]) -> NDArray[np.float16]:
    """Feature maps in half of the memory, for the disk.

    Raises
    ------
    InputError
        A feature is beyond the range of float16.
    """
    with np.errstate(over="ignore"):
        halves = maps.astype(np.float16)
    if not np.isfinite(halves).all():
        raise InputError(
            f"dino: features of up to {np.abs(maps).max():.3g} do not fit in float16. Use another "
            "dino.model or dino.checkpoint."
        )
    return halves


def _tokens(dino: Dino, pixels: Tensor) -> Tensor:
    """[B, 3, H, W] in [0, 1] to [B, D, h, w]."""
    h, w = dino.grid(*pixels.shape[-2:])
    size = (h * dino.patch, w * dino.patch)
    resized = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    mean = pixels.new_tensor(IMAGENET_MEAN)[:, None, None]
    std = pixels.new_tensor(IMAGENET_STD)[:, None, None]
    tokens = dino.model.forward_features((resized - mean) / std)
    patches = tokens[:, dino.model.num_prefix_tokens :]
    return patches.transpose(1, 2).unflatten(2, (h, w)).float()


def _from_timm(name: str, checkpoint: Path | None) -> nn.Module:
    import timm
    from timm.models.vision_transformer import VisionTransformer

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models("vit*", pretrained=True), n=3)
        hint = f" Names like it: {', '.join(close)}." if close else ""
        raise InputError(f"dino.model: {name!r} is neither 'compact' nor a model of timm.{hint}")
    options = {"num_classes": 0, "dynamic_img_size": True}
    try:
        network = timm.create_model(name, pretrained=checkpoint is None, **options)
    except TypeError as error:
        raise InputError(f"dino.model: {name!r} is not a vision transformer.") from error
    except Exception as error:  # the hub client raises the errors of several libraries
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise InputError(
            f"dino.model: the weights of {name!r} could not be had from timm's hub{offline}: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}. Fetch them "
            "once with a network, or set dino.checkpoint to a local .pth or .safetensors file."
        ) from error
    if not isinstance(network, VisionTransformer):
        raise InputError(f"dino.model: {name!r} is not a vision transformer.")
    if checkpoint is not None:
        _load_checkpoint(network, name, checkpoint)
    return network


def _load_checkpoint(network: nn.Module, name: str, path: Path) -> None:
    from timm.models.vision_transformer import checkpoint_filter_fn

    try:
        state = _backbone(_read_state(path))
        expected = network.state_dict()
        # timm's own conversion: DINOv2's names, positions resampled to the model's grid
        converted = checkpoint_filter_fn(state, network)
        fitting = {key: value for key, value in converted.items() if key in expected}
        network.load_state_dict(fitting)
    except Exception as error:  # a foreign file fails in timm's conversion in its own ways
        raise InputError(
            f"{path}: does not hold the weights of {name!r} ({one_line(error)}). Set dino.checkpoint "
            "to the file of that model, or dino.model to the timm name that fits the file."
        ) from error


def _read_state(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError("holds more than weights, which are all that is loaded") from error


def _backbone(state: Any) -> dict[str, Tensor]:
    """The plain state dict inside a checkpoint, without heads and wrappers' prefixes."""
    for key in WRAPPED_IN:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    return {PREFIX.sub("", key): value for key, value in state.items() if torch.is_tensor(value)}
