"""SAM's everything mode on a slice (eq. 1-2): a grid of points, every mask that SAM stands by.

Meta's `SamAutomaticMaskGenerator` does the work; its one pass of the image encoder also gives the
embedding that the distillation uses later.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from segment_anything.utils.amg import MaskData

from umsam.errors import InputError
from umsam.pseudo_labels.masks import SliceMasks, no_masks


class Generator(SamAutomaticMaskGenerator):
    """Meta's generator, but for crops without a mask, whose missing boxes stop the original."""

    def _process_crop(self, *arguments: Any) -> MaskData:
        data = super()._process_crop(*arguments)
        data["crop_boxes"] = data["crop_boxes"].reshape(-1, 4)
        return data


def everything_mode(
    sam: Sam, rgb: NDArray[np.uint8], settings: Mapping[str, Any]
) -> tuple[SliceMasks, NDArray[np.float32]]:
    """All masks of a slice, and SAM's embedding of it.

    Parameters
    ----------
    rgb
        uint8 [H, W, 3].
    settings
        points_per_side (m), points_per_batch, pred_iou_thresh, stability_score_thresh,
        stability_score_offset, box_nms_thresh, crop_n_layers, min_mask_region_area; no nulls.

    Returns
    -------
    masks
        In the generator's order; none is no error.
    embedding
        float32 [256, h, w] of the whole slice. It covers the square of side max(H, W) whose
        top-left corner is the slice's: SAM pads at the right or the bottom.
    """
    generator = Generator(
        sam,
        points_per_side=settings["points_per_side"],
        points_per_batch=settings["points_per_batch"],
        pred_iou_thresh=settings["pred_iou_thresh"],
        stability_score_thresh=settings["stability_score_thresh"],
        stability_score_offset=settings["stability_score_offset"],
        box_nms_thresh=settings["box_nms_thresh"],
        crop_n_layers=settings["crop_n_layers"],
        min_mask_region_area=settings["min_mask_region_area"],
    )
    embeddings: list[torch.Tensor] = []
    hook = sam.image_encoder.register_forward_hook(
        lambda module, inputs, output: embeddings.append(output)
    )
    try:
        records = generator.generate(rgb)
    finally:
        hook.remove()
    # With crop_n_layers > 0 the encoder also sees crops; the whole slice always comes first.
    return _slice_masks(records, *rgb.shape[:2]), embeddings[0][0].float().cpu().numpy()


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check what everything mode needs beyond the configuration's schema.

    Raises
    ------
    InputError
        min_mask_region_area is set, but OpenCV, which Meta's generator needs for it, is missing.
    """
    if settings["min_mask_region_area"] > 0:
        try:
            import cv2  # noqa: F401
        except ImportError as error:
            raise InputError(
                "sam.min_mask_region_area: removing small regions needs OpenCV. Install "
                "opencv-python-headless, or set the key to 0."
            ) from error


def _slice_masks(records: list[dict[str, Any]], height: int, width: int) -> SliceMasks:
    if not records:
        return no_masks(height, width)
    return SliceMasks(
        masks=np.stack([record["segmentation"] for record in records]),
        predicted_iou=np.array([record["predicted_iou"] for record in records], np.float32),
        stability_score=np.array([record["stability_score"] for record in records], np.float32),
        box=np.array([record["bbox"] for record in records]).astype(np.int32),
        point=np.array([record["point_coords"][0] for record in records], np.float32),
    )
