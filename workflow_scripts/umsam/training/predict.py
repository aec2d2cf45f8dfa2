"""Segment whole volumes with a trained UNet."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from umsam.postprocessing import smooth_z
from umsam.training.unet import STRIDE, UNet


@torch.inference_mode()
def predict_volume(
    unet: UNet,
    volume: NDArray[np.float32],
    spacing: tuple[float, float, float],
    device: str,
    batch_size: int = 8,
    smooth: float = 0.0,
) -> NDArray[np.uint8]:
    """Segment every slice of a volume; `unet` keeps its training or evaluation mode.

    The network receives whole slices, resampled to its pixel size if it has one and padded with
    zeros at the bottom and right to multiples of 16. The logits are cropped and resampled back.

    Parameters
    ----------
    unet
        The network on `device`.
    volume
        Intensities in [0, 1], [Z, Y, X].
    spacing
        Voxel size of the volume in mm (z, y, x).
    device
        Where the network runs.
    batch_size
        Number of slices that run at a time.
    smooth
        Standard deviation in mm of a Gaussian over the slices' probabilities; 0 disables it. It
        does not smooth the logits: they are unbounded, so one confident slice would outvote its
        neighbours.

    Returns
    -------
    The mask, uint8 [Z, Y, X].
    """
    training = unet.training
    unet.eval()
    slices = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))[:, None]
    height, width = volume.shape[1:]
    network_size = height, width
    if unet.spacing is not None:
        network_size = (
            max(1, round(height * spacing[1] / unet.spacing)),
            max(1, round(width * spacing[2] / unet.spacing)),
        )
    padding = (0, -network_size[1] % STRIDE, 0, -network_size[0] % STRIDE)
    parts: list[Tensor] = []
    for batch in slices.split(batch_size):
        logits, _ = unet(F.pad(_resize(batch.to(device), network_size), padding))
        logits = logits[..., : network_size[0], : network_size[1]]
        background, target = _resize(logits, (height, width)).unbind(dim=1)
        logit = target - background
        parts.append((logit.sigmoid() - 0.5 if smooth else logit).cpu())
    unet.train(training)
    evidence = smooth_z(torch.cat(parts).numpy(), smooth, spacing[0])
    return (evidence > 0).astype(np.uint8)


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample maps [B, C, H, W] to another grid over the same field of view."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
