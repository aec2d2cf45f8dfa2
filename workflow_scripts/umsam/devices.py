"""The one place where a device is chosen; everything else takes it as an argument."""

import os


def default_device() -> str:
    """``cuda`` where a GPU is visible, else ``cpu``; the variable UMSAM_DEVICE overrides."""
    import torch

    return os.environ.get("UMSAM_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
