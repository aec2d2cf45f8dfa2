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
    mirror: bool = False,
) -> NDArray[np.uint8]:
    """Segment every slice of a volume [Z, Y, X] with intensities in [0, 1]; uint8, the same shape.

    Slices go in whole, resampled to the network's pixel size where it has one (`spacing` is the
    volume's, in mm along z, y and x): zeros at the bottom and right make them a multiple of 16, and
    are cut off again. Logits are resampled back, with `mirror` averaged with those of the
    left-right mirror image, and with `smooth` over slices, by a Gaussian of so many mm. `unet` is
    left in the mode it came in.
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

    def odds_of(images: Tensor) -> Tensor:
        logits, _ = unet(F.pad(images, padding))
        background, target = logits[..., :height, :width].split(1, dim=1)
        return target - background

    parts: list[Tensor] = []
    for batch in slices.split(batch_size):
        images = _resized(batch.to(device), (height, width))
        odds = odds_of(images)
        if mirror:
            odds = (odds + odds_of(images.flip(-1)).flip(-1)) / 2
        parts.append(_resized(odds, own)[:, 0].cpu())
    unet.train(training)
    odds = smooth_z(torch.cat(parts).numpy(), smooth, spacing[0])
    return (odds > 0).astype(np.uint8)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [B, C, H, W] on another grid over the same field of view."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
