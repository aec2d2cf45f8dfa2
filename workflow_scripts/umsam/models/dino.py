"""Dense features of slices from a self-supervised vision transformer (the extractor of eq. 4).

DINO: Caron et al., "Emerging properties in self-supervised vision transformers", 2021. DINOv2:
Oquab et al., 2023. timm builds both; the compact model is this project's own.
"""

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from umsam.checksums import check_sha256
from umsam.data.intensity import IMAGENET_MEAN, IMAGENET_STD, to_rgb_uint8
from umsam.errors import InputError, one_line
from umsam.models.matmul_precision import matmul_precision

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

IMAGE_SIZE = {"compact": 224}
OTHER_IMAGE_SIZE = 448
# Keys and prefixes under which training frameworks, and DINO's teacher, store a backbone.
WRAPPER_KEYS = ("state_dict", "model", "teacher")
WRAPPER_PREFIX = re.compile(r"^(?:(?:_orig_mod|module|backbone|teacher)\.)+")


@dataclass(frozen=True)
class Dino:
    """A vision transformer, and the long side in pixels to which slices are resized for it."""

    model: "VisionTransformer"
    image_size: int

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return self.model.patch_embed.patch_size[0]

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the number of patches along y and x of a slice of this size."""
        scale = self.image_size / max(height, width) / self.patch
        return max(1, round(height * scale)), max(1, round(width * scale))


def load_dino(
    model: str,
    checkpoint: str | Path | None,
    device: str,
    image_size: int | None = None,
    sha256: str | None = None,
) -> Dino:
    """Load a transformer in evaluation mode.

    Parameters
    ----------
    model
        compact, or the timm name of a vision transformer.
    checkpoint
        .pth (read with ``weights_only``) or .safetensors; compact needs one. If it is None or
        empty, timm downloads the weights from its hub or takes them from the local cache
        (``HF_HUB_OFFLINE=1`` forbids the download).
    device
        Where the model runs.
    image_size
        Long side of a slice in pixels; None selects 224 for compact and 448 for other models.
    sha256
        Checksum of the checkpoint, compared before it is loaded; None skips the comparison.

    Raises
    ------
    InputError
        The model is unknown or no vision transformer, or its weights are missing or do not fit.
    """
    size = image_size or IMAGE_SIZE.get(model, OTHER_IMAGE_SIZE)
    path = Path(checkpoint) if checkpoint else None
    if path is not None:
        if not path.is_file():
            raise InputError(
                f"{path}: no such file. Set dino.checkpoint to the weights of {model!r}, or to "
                "null for the shipped compact model or the download from timm's hub."
            )
        check_sha256(path, sha256, "dino.sha256")
    if model == "compact":
        if path is None:
            raise InputError(
                "dino.checkpoint: the compact DINO needs its weights. Set it to "
                "resources/compact_dino.pt, or to a compact model that you trained."
            )
        from umsam.models.compact_dino import build_compact_dino

        network = build_compact_dino(path)
    else:
        network = _build_with_timm(model, path)
    return Dino(network.eval().to(device), size)


@torch.inference_mode()
def feature_maps(
    dino: Dino, volume: NDArray[np.floating], batch_size: int, device: str
) -> NDArray[np.float32]:
    """Compute the normed patch tokens of slices, as maps that cover each slice edge to edge.

    Parameters
    ----------
    dino
        The transformer.
    volume
        [Z, H, W] in [0, 1].
    batch_size
        Slices per forward pass.
    device
        Where the transformer runs.

    Returns
    -------
    float32 [Z, D, h, w].
    """
    maps = []
    for start in range(0, len(volume), batch_size):
        images = np.stack([to_rgb_uint8(image) for image in volume[start : start + batch_size]])
        pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
        with matmul_precision("fp32", device):
            maps.append(_patch_tokens(dino, pixels).cpu().numpy())
    return np.concatenate(maps)


def to_half(maps: NDArray[np.float32]) -> NDArray[np.float16]:
    """Convert feature maps to float16, in which they are stored.

    Raises
    ------
    InputError
        A feature exceeds the range of float16.
    """
    with np.errstate(over="ignore"):
        halves = maps.astype(np.float16)
    if not np.isfinite(halves).all():
        raise InputError(
            f"dino: features of up to {np.abs(maps).max():.3g} do not fit in float16. Use another "
            "dino.model or dino.checkpoint."
        )
    return halves


def _patch_tokens(dino: Dino, pixels: Tensor) -> Tensor:
    """Return the patch tokens [B, D, h, w] of images [B, 3, H, W] in [0, 1]."""
    h, w = dino.grid(*pixels.shape[-2:])
    size = (h * dino.patch, w * dino.patch)
    resized = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    mean = pixels.new_tensor(IMAGENET_MEAN)[:, None, None]
    std = pixels.new_tensor(IMAGENET_STD)[:, None, None]
    tokens = dino.model.forward_features((resized - mean) / std)
    patches = tokens[:, dino.model.num_prefix_tokens :]
    return patches.transpose(1, 2).unflatten(2, (h, w)).float()


def _build_with_timm(name: str, checkpoint: Path | None) -> "VisionTransformer":
    import timm
    from timm.models.vision_transformer import VisionTransformer

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models("vit*", pretrained=True), n=3)
        hint = f" Similar names: {', '.join(close)}." if close else ""
        raise InputError(
            f"dino.model: {name!r} is neither 'compact' nor the name of a timm model.{hint}"
        )
    try:
        network = timm.create_model(
            name, pretrained=checkpoint is None, num_classes=0, dynamic_img_size=True
        )
    except TypeError as error:
        raise InputError(_not_a_transformer(name)) from error
    except Exception as error:  # the hub's client raises errors of several libraries
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise InputError(
            f"dino.model: the weights of {name!r} could not be loaded from timm's hub{offline}: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}. Download them "
            "once with a network connection, or set dino.checkpoint to a local .pth or "
            ".safetensors file."
        ) from error
    if not isinstance(network, VisionTransformer):
        raise InputError(_not_a_transformer(name))
    if checkpoint is not None:
        _load_checkpoint(network, name, checkpoint)
    return network


def _not_a_transformer(name: str) -> str:
    return (
        f"dino.model: {name!r} is not a vision transformer. Set it to compact or to the timm name "
        "of one, such as vit_small_patch8_224.dino."
    )


def _load_checkpoint(network: "VisionTransformer", name: str, path: Path) -> None:
    from timm.models.vision_transformer import checkpoint_filter_fn

    try:
        state = _extract_backbone(_read_state(path))
        expected = network.state_dict()
        # timm converts DINOv2's names and resamples the positions to the model's grid.
        converted = checkpoint_filter_fn(state, network)
        network.load_state_dict({k: v for k, v in converted.items() if k in expected})
    except Exception as error:  # timm's conversion of an unsuitable file may raise anything
        raise InputError(
            f"{path}: does not hold the weights of {name!r} ({one_line(error)}). Set "
            "dino.checkpoint to the file of that model, or dino.model to the timm name that fits "
            "the file."
        ) from error


def _read_state(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError("holds more than weights, and only weights are loaded") from error


def _extract_backbone(state: Any) -> dict[str, Tensor]:
    """Extract the plain state dict from a checkpoint, without prefixes of wrappers."""
    for key in WRAPPER_KEYS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    return {
        WRAPPER_PREFIX.sub("", key): value for key, value in state.items() if torch.is_tensor(value)
    }
