"""Loading SAM: the compact model or Meta's official ones, weights checked and never unpickled.

Official models: Kirillov et al., "Segment Anything", 2023, through the package segment-anything.
MobileSAM (vit_t): Zhang et al., "Faster Segment Anything", 2023: Meta's prompt encoder and decoder
behind a TinyViT, which the optional package mobilesam-mirror brings. A checkpoint of the same
networks with other weights (MedSAM's is a vit_b) is loaded by the same path.
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

HOST = "https://dl.fbaipublicfiles.com/segment_anything"
OFFICIAL = {
    "vit_b": f"{HOST}/sam_vit_b_01ec64.pth",
    "vit_l": f"{HOST}/sam_vit_l_0b3195.pth",
    "vit_h": f"{HOST}/sam_vit_h_4b8939.pth",
    "vit_t": (
        "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/"
        "f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt"
    ),
}
PIXEL_MEAN = (123.675, 116.28, 103.53)  # of all official models
PIXEL_STD = (58.395, 57.12, 57.375)
MODELS = ("compact", *OFFICIAL)

_META = {
    "pred_iou_thresh": 0.88,
    "stability_score_thresh": 0.95,
    "stability_score_offset": 1.0,
}
# What a null in the configuration stands for: the thresholds that a model's scores are made for.
GENERATOR_DEFAULTS: dict[str, dict[str, float]] = {
    "compact": {
        "pred_iou_thresh": 0.15,
        "stability_score_thresh": 0.7,
        "stability_score_offset": 1.0,
    },
    **dict.fromkeys(OFFICIAL, _META),
}

# Length that counts as one in the class-level feature loss. Entries of the compact model's
# embedding are of order 1, of Meta's of order 0.1, and the paper's lambda_1 are made for Meta's.
FEATURE_UNITS = {"compact": 0.1, **dict.fromkeys(OFFICIAL, 1.0)}


def generator_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The `sam` section of the configuration, each null threshold replaced by the model's own."""
    own = GENERATOR_DEFAULTS[settings["model"]]
    return {key: own.get(key) if value is None else value for key, value in settings.items()}


def load_sam(
    model: str,
    checkpoint: str | Path,
    device: str,
    sha256: str | None = None,
    builders: Mapping[str, Callable[..., "Sam"]] | None = None,
) -> "Sam":
    """SAM in evaluation mode on a device.

    Parameters
    ----------
    model
        compact, vit_b, vit_l, vit_h, or vit_t for MobileSAM.
    checkpoint
        A state dict as Meta publishes it (or of the compact model), read with ``weights_only``.
    sha256
        Of the file, checked first; None leaves the check out.
    builders
        Model name -> function of ``checkpoint=None`` that builds the bare network; None takes
        segment_anything's registry.

    Raises
    ------
    InputError
        The model has no such name; the file is missing, is not the expected one, or does not fit.
    """
    if model not in MODELS:
        raise InputError(f"sam.model: {model!r} is not one of {', '.join(MODELS)}.")
    checkpoint = Path(checkpoint)
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such file. {_remedy(model)}")
    check_sha256(checkpoint, sha256, "sam.sha256")
    try:
        if model == "compact":
            from umsam.models.compact_sam import build_compact_sam

            sam = build_compact_sam(checkpoint)
        else:
            sam = _official(model, checkpoint, builders)
    except (RuntimeError, AttributeError, TypeError, EOFError, UnpicklingError) as error:
        raise InputError(
            f"{checkpoint}: does not hold the weights of SAM {model}: {_first_lines(error)} "
            f"{_remedy(model)}"
        ) from error
    return sam.eval().to(device)


def _official(
    model: str, checkpoint: Path, builders: Mapping[str, Callable[..., "Sam"]] | None
) -> "Sam":
    import torch
    from segment_anything import sam_model_registry

    mobile = model == "vit_t"
    with torch.device("meta"):  # no random start that the checkpoint replaces: seconds for ViT-H
        sam = (builders or sam_model_registry)["vit_b" if mobile else model](checkpoint=None)
    if mobile:
        sam.image_encoder = _tiny_vit()
    # Only files in PyTorch's zip format can be mapped: ViT-H is then read once, not copied first.
    mapped = zipfile.is_zipfile(checkpoint)
    state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=mapped)
    sam.load_state_dict(state, assign=True)
    # The two buffers that checkpoints leave out.
    sam.pixel_mean = torch.tensor(PIXEL_MEAN).view(-1, 1, 1)
    sam.pixel_std = torch.tensor(PIXEL_STD).view(-1, 1, 1)
    return sam.float()


def _tiny_vit() -> Any:
    """MobileSAM's encoder; not on the meta device, where its index tables would stay."""
    import warnings

    with warnings.catch_warnings():  # it imports names that timm has moved
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
            "The compact SAM ships as resources/compact_sam.pt: leave sam.checkpoint null, or set "
            "it to such a file."
        )
    return (
        f"Leave sam.checkpoint null to have it downloaded, or fetch {OFFICIAL[model]} and set "
        "sam.checkpoint to the file."
    )


def _first_lines(error: Exception, count: int = 2) -> str:
    lines = [line.strip()[:300] for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:count]) or type(error).__name__
