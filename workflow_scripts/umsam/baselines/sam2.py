"""SAM2 with one prompt per volume (two rows of Table 1): the slices are the frames of a video.

Ravi et al., "SAM 2: Segment anything in images and videos", 2024, through transformers. The prompt
lies on the slice with the largest target area, and the mask is propagated in both directions.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from transformers import Sam2ImageProcessor, Sam2VideoModel, Sam2VideoProcessor
from transformers.models.sam2_video.video_processing_sam2_video import Sam2VideoVideoProcessor

from umsam.baselines.prompts import foreground_point, prompt_slice, scaled_box
from umsam.data.intensity import to_rgb_uint8
from umsam.errors import InputError, one_line

OBJECT = 1
REMEDY = (
    "The folder must contain config.json and model.safetensors of a SAM2 video model in "
    "transformers' format, such as facebook/sam2.1-hiera-large. Replace the files (`snakemake "
    "baseline_weights` downloads missing ones), or set baselines.weights.sam2.folder to another "
    "copy."
)


@dataclass(frozen=True)
class Prompt:
    """A click (x, y) or a box (x0, y0, x1, y1) on slice z, in continuous pixel coordinates."""

    z: int
    point: tuple[float, float] | None = None
    box: tuple[float, float, float, float] | None = None


def point_prompt(label: NDArray[np.bool_]) -> Prompt:
    """One foreground click for a volume [Z, H, W] that contains the target."""
    z = prompt_slice(label)
    return Prompt(z, point=foreground_point(label[z]))


def box_prompt(label: NDArray[np.bool_]) -> Prompt:
    """The label's box for a volume [Z, H, W] that contains the target."""
    z = prompt_slice(label)
    return Prompt(z, box=scaled_box(label[z], 1.0))


def load_sam2(folder: str | Path, device: str) -> Sam2VideoModel:
    """Load SAM2 in evaluation mode from a folder with config.json and model.safetensors.

    Raises
    ------
    InputError
        The files do not belong to a ``Sam2VideoModel``, or lack some of its weights.
    """
    try:
        loaded: Any = Sam2VideoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below with the missing weights
            dtype=torch.float32,
        )
        model, report = loaded
    except Exception as error:  # transformers raises errors of several libraries
        raise InputError(f"{folder}: {one_line(error).rstrip('.')}. {REMEDY}") from error
    wrong = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if wrong:
        raise InputError(
            f"{folder}: {len(wrong)} weights of the model are missing or have the wrong size, for "
            f"example {wrong[0]}. {REMEDY}"
        )
    return model.eval().to(device)


@torch.inference_mode()
def segment_video(
    model: Sam2VideoModel, volume: NDArray[np.floating], prompt: Prompt, device: str
) -> NDArray[np.bool_]:
    """The mask [Z, H, W] of the prompted object (logits > 0) in a volume [Z, H, W] in [0, 1]."""
    processor = _make_processor(cast(int, model.image_size))
    session = processor.init_video_session(
        video=np.stack([to_rgb_uint8(image) for image in volume]),
        inference_device=device,
        processing_device="cpu",
        video_storage_device="cpu",
        dtype=torch.float32,
    )
    processor.add_inputs_to_inference_session(
        session,
        frame_idx=prompt.z,
        obj_ids=OBJECT,
        input_points=[[[list(prompt.point)]]] if prompt.point else None,
        input_labels=[[[1]]] if prompt.point else None,
        input_boxes=[[list(prompt.box)]] if prompt.box else None,
    )
    mask = np.zeros(volume.shape, bool)
    for reverse in (False, True):
        for output in model.propagate_in_video_iterator(session, prompt.z, reverse=reverse):
            logits = F.interpolate(
                output.pred_masks.float(), volume.shape[1:], mode="bilinear", align_corners=False
            )
            mask[output.frame_idx] = (logits[0, 0] > 0).cpu().numpy()
    return mask


def _make_processor(size: int) -> Sam2VideoProcessor:
    """The official preprocessing, made without a file: frames resized to `size` x `size`."""
    square = {"height": size, "width": size}
    return Sam2VideoProcessor(
        Sam2ImageProcessor(size=square), Sam2VideoVideoProcessor(size=square), target_size=size
    )
