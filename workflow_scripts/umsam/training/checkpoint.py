"""Checkpoints of the UNet on disk."""

from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from umsam.errors import InputError
from umsam.training.unet import UNet


@dataclass(frozen=True)
class Checkpoint:
    """The weights at the end of an epoch.

    Attributes
    ----------
    weights
        The state of the UNet on the CPU.
    epoch
        Number of the epoch, from 1.
    val_dsc
        Mean DSC of the validation volumes after this epoch; NaN without a validation.
    spacing
        Pixel size in mm that the network expects; None for any.
    """

    weights: dict[str, Tensor]
    epoch: int
    val_dsc: float
    spacing: float | None = None

    def save(self, path: str | Path) -> None:
        """Write tensors and plain values, readable with ``weights_only=True``."""
        torch.save(asdict(self), path)


def load_unet(path: str | Path, device: str) -> UNet:
    """Load the UNet of a checkpoint in evaluation mode.

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
            f"{path}: not a checkpoint of this UNet ({type(error).__name__}). Delete the file and "
            "run the workflow again to train the network."
        ) from error
    return unet.to(device).eval()
