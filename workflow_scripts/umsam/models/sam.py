"""Load SAM: the compact model or an official one. Weights are checked and nothing is unpickled.

Official models: Kirillov et al., "Segment Anything", 2023, through the package segment-anything.
MobileSAM (vit_t): Zhang et al., "Faster Segment Anything", 2023. It combines Meta's prompt encoder
and mask decoder with a TinyViT encoder from the optional package mobilesam-mirror. A checkpoint of
one of these networks with other weights, such as MedSAM's vit_b, is loaded the same way.
"""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from umsam.checksums import check_sha256
from umsam.errors import InputError

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

Builders = Mapping[str, Callable[..., "Sam"]]

PIXEL_MEAN = (123.675, 116.28, 103.53)  # of all official models
PIXEL_STD = (58.395, 57.12, 57.375)


def load_sam(
    model: str,
    checkpoint: str | Path,
    device: str,
    sha256: str | None = None,
    builders: Builders | None = None,
) -> "Sam":
    """Load SAM in evaluation mode.

    Parameters
    ----------
    model
        compact, vit_b, vit_l, vit_h, or vit_t for MobileSAM.
    checkpoint
        A state dict as Meta publishes it (or of the compact model), read with ``weights_only``.
    device
        Where the model runs.
    sha256
        Checksum of the file, compared before the file is loaded; None skips the comparison.
    builders
        For each official model, a function of ``checkpoint=None`` that builds the network; None
        selects segment_anything's registry.

    Raises
    ------
    InputError
        The model is unknown, or its file is missing, has another checksum or does not fit.
    """
    builders = builders or _official_builders()
    if model not in ("compact", "vit_t", *builders):
        raise InputError(
            f"sam.model: {model!r} is unknown. Set it to compact, vit_t, vit_b, vit_l or vit_h."
        )
    checkpoint = Path(checkpoint)
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such file. {_remedy(model)}")
    check_sha256(checkpoint, sha256, "sam.sha256")
    try:
        if model == "compact":
            from umsam.models.compact_sam import build_compact_sam

            sam = build_compact_sam(checkpoint)
        else:
            sam = _load_official(model, checkpoint, builders)
    except (RuntimeError, AttributeError, TypeError, EOFError, UnpicklingError) as error:
        raise InputError(
            f"{checkpoint}: does not hold the weights of SAM {model}: {_first_lines(error)} "
            f"{_remedy(model)}"
        ) from error
    return sam.eval().to(device)


def _official_builders() -> Builders:
    from segment_anything import sam_model_registry

    return sam_model_registry


def _load_official(model: str, checkpoint: Path, builders: Builders) -> "Sam":
    import torch

    mobile = model == "vit_t"
    with torch.device("meta"):  # skips the random initialisation, which takes seconds for ViT-H
        sam = builders["vit_b" if mobile else model](checkpoint=None)
    if mobile:
        sam.image_encoder = _build_tiny_vit()
    # A file in PyTorch's zip format can be memory-mapped, which avoids a copy of the weights.
    mapped = zipfile.is_zipfile(checkpoint)
    state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=mapped)
    sam.load_state_dict(state, assign=True)
    # Checkpoints do not hold these two buffers.
    sam.pixel_mean = torch.tensor(PIXEL_MEAN).view(-1, 1, 1)
    sam.pixel_std = torch.tensor(PIXEL_STD).view(-1, 1, 1)
    return sam.float()


def _build_tiny_vit() -> Any:
    """Build MobileSAM's encoder on the CPU: its index tables are not in the checkpoint."""
    import warnings

    with warnings.catch_warnings():  # the package imports names that timm has moved
        warnings.simplefilter("ignore")
        try:
            from mobile_sam import sam_model_registry
        except ImportError as error:
            raise InputError(
                "sam.model vit_t: MobileSAM's encoder is not installed: "
                "pip install mobilesam-mirror==1.0.0."
            ) from error
        return sam_model_registry["vit_t"](checkpoint=None).image_encoder


def _remedy(model: str) -> str:
    if model == "compact":
        return (
            "The compact SAM ships as resources/compact_sam.pt: leave sam.checkpoint null to use "
            "it, or set sam.checkpoint to a compact model that you trained."
        )
    return (
        "Leave sam.checkpoint null to have the official file downloaded, or download it yourself "
        f"(its address is in resources/weights.tsv under sam_{model}) and set sam.checkpoint to it."
    )


def _first_lines(error: Exception, count: int = 2) -> str:
    lines = [line.strip()[:300] for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:count]) or type(error).__name__
