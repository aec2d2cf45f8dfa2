"""SAM2 with one prompt a volume (two rows of Table 1): slices are the frames of a video.

Ravi et al., "SAM 2: Segment anything in images and videos", 2024, through transformers. The prompt
lies on the slice that shows most of the object; the mask is propagated from there both ways.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from transformers import Sam2ImageProcessor, Sam2VideoModel, Sam2VideoProcessor
from transformers.models.sam2_video.video_processing_sam2_video import Sam2VideoVideoProcessor

from umsam.baselines.prompts import foreground_point, prompt_slice, scaled_box
from umsam.data.intensity import to_rgb_uint8
from umsam.errors import InputError, short

OBJECT = 1


@dataclass(frozen=True)
class Prompt:
    """A click (x, y) or a box (x0, y0, x1, y1) on slice z, in continuous pixel coordinates."""

    z: int
    point: tuple[float, float] | None = None
    box: tuple[float, float, float, float] | None = None


def click(label: NDArray[np.bool_]) -> Prompt:
    """One foreground click for a volume [Z, H, W] that holds the object."""
    z = prompt_slice(label)
    return Prompt(z, point=foreground_point(label[z]))


def box(label: NDArray[np.bool_]) -> Prompt:
    """One box, the label's own, for a volume [Z, H, W] that holds the object."""
    z = prompt_slice(label)
    return Prompt(z, box=scaled_box(label[z], 1.0))


def load_sam2(folder: str | Path, device: str) -> Sam2VideoModel:
    """SAM2 in evaluation mode from a folder of config.json and model.safetensors.

    Raises
    ------
    InputError
        The files are not those of a ``Sam2VideoModel``, or lack some of its weights.
    """
    try:
        model, loading = Sam2VideoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, with the missing ones
            dtype=torch.float32,
        )
    except Exception as error:  # files that are not a model fail in the ways of several libraries
        raise InputError(f"{folder}: {short(error).rstrip('.')}. {REMEDY}") from error
    wrong = sorted({*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])})
    if wrong:
        raise InputError(
            f"{folder}: {len(wrong)} weights of the model are missing or of another size, "
            f"{wrong[0]} among them. {REMEDY}"
        )
    return model.eval().to(device)


REMEDY = (
    "It must hold config.json and model.safetensors of a SAM2 video model in transformers' format, "
    "such as facebook/sam2.1-hiera-large: see baselines.weights.sam2."
)


@torch.inference_mode()
def segment_video(
    model: Sam2VideoModel, volume: NDArray[np.floating], prompt: Prompt, device: str
) -> NDArray[np.bool_]:
    """The object's mask [Z, H, W] in a volume [Z, H, W] of intensities in [0, 1], logits > 0."""
    processor = _processor(model.image_size)
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
    found = np.zeros(volume.shape, bool)
    for reverse in (False, True):
        for output in model.propagate_in_video_iterator(session, prompt.z, reverse=reverse):
            logits = F.interpolate(
                output.pred_masks.float(), volume.shape[1:], mode="bilinear", align_corners=False
            )
            found[output.frame_idx] = (logits[0, 0] > 0).cpu().numpy()
    return found


def _processor(size: int) -> Sam2VideoProcessor:
    """The official preprocessing, built without a file: frames squeezed to `size` x `size`."""
    square = {"height": size, "width": size}
    return Sam2VideoProcessor(
        Sam2ImageProcessor(size=square), Sam2VideoVideoProcessor(size=square), target_size=size
    )
