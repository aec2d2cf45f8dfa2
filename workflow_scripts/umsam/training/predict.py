"""Segment whole volumes with a trained UNet."""

from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from umsam.errors import InputError
from umsam.postprocessing import smooth_z
from umsam.training.unet import STRIDE, UNet


def load_unet(path: str | Path, device: str) -> UNet:
    """Read a checkpoint of the training, in evaluation mode.

    Raises
    ------
    InputError
        The file is not such a checkpoint.
    """
    try:
        checkpoint = torch.load(path, map_location=device, weights_only=True)
        unet = UNet(spacing=checkpoint["spacing"])
        unet.load_state_dict(checkpoint["weights"])
    except (EOFError, KeyError, RuntimeError, TypeError, UnpicklingError) as error:
        raise InputError(
            f"{path}: not a checkpoint of this UNet ({type(error).__name__}). Delete it and run "
            "again, so that it is trained anew."
        ) from error
    return unet.to(device).eval()


@torch.inference_mode()
def predict_volume(
    unet: UNet,
    volume: NDArray[np.float32],
    spacing: tuple[float, float, float],
    device: str,
    batch_size: int = 8,
    smooth: float = 0.0,
) -> NDArray[np.uint8]:
    """Segment every slice of a volume [Z, Y, X] with intensities in [0, 1]; uint8, the same shape.

    Slices go in whole, resampled to the network's pixel size where it has one (`spacing` is the
    volume's, in mm along z, y and x): zeros at the bottom and right make them a multiple of 16, and
    are cut off again. Logits are resampled back. With `smooth` a voxel's probability is
    the Gaussian mean over slices, of so many mm: of logits, which have no bound, one sure slice
    would outvote the others. `unet` is left in the mode it came in.
    """
    training = unet.training
    unet.eval()
    slices = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))[:, None]
    own = volume.shape[1:]
    height, width = own
    if unet.spacing is not None:
        height, width = (
            max(1, round(n * mm / unet.spacing)) for n, mm in zip(own, spacing[1:], strict=True)
        )
    padding = (0, -width % STRIDE, 0, -height % STRIDE)
    parts: list[Tensor] = []
    for batch in slices.split(batch_size):
        logits, _ = unet(F.pad(_resized(batch.to(device), (height, width)), padding))
        background, target = _resized(logits[..., :height, :width], own).unbind(dim=1)
        odds = target - background
        parts.append((odds.sigmoid() - 0.5 if smooth else odds).cpu())
    unet.train(training)
    evidence = smooth_z(torch.cat(parts).numpy(), smooth, spacing[0])
    return (evidence > 0).astype(np.uint8)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [B, C, H, W] on another grid over the same field of view."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
