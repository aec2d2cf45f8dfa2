"""Everything mode by Meta's own `SamAutomaticMaskGenerator`: the reference for the fast one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from segment_anything.utils.amg import MaskData

from umsam.data.masks import SliceMasks, no_masks

SETTINGS = (
    "points_per_side",
    "points_per_batch",
    "pred_iou_thresh",
    "stability_score_thresh",
    "stability_score_offset",
    "box_nms_thresh",
    "crop_n_layers",
    "min_mask_region_area",
)


class _Generator(SamAutomaticMaskGenerator):
    """Meta's generator, except that a crop without masks does not raise an error."""

    def _process_crop(self, *arguments: Any) -> MaskData:
        data = super()._process_crop(*arguments)
        data["crop_boxes"] = data["crop_boxes"].reshape(-1, 4)
        return data


class ReferenceGenerator:
    """Segments slices with Meta's generator.

    Parameters
    ----------
    sam
        The model.
    settings
        Holds at least the keys in `SETTINGS`; None selects Meta's default.
    """

    def __init__(self, sam: Sam, settings: Mapping[str, Any]) -> None:
        self.sam = sam
        given = {key: settings[key] for key in SETTINGS if settings[key] is not None}
        self.generator = _Generator(sam, **given)

    def __call__(self, rgb: NDArray[np.uint8]) -> tuple[SliceMasks, NDArray[np.float32]]:
        """Prepare and segment a slice, uint8 [H, W, 3]."""
        return self.segment(self.prepare(rgb))

    def prepare(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the slice unchanged: Meta's generator does its own preparation."""
        return rgb

    def segment(self, rgb: NDArray[np.uint8]) -> tuple[SliceMasks, NDArray[np.float32]]:
        """Return all masks of a slice and its embedding; see `FastGenerator.segment`."""
        embeddings: list[torch.Tensor] = []
        hook = self.sam.image_encoder.register_forward_hook(
            lambda module, inputs, output: embeddings.append(output)
        )
        try:
            records = self.generator.generate(rgb)
        finally:
            hook.remove()
        # With crop_n_layers > 0 the encoder also sees crops; the whole slice always comes first.
        return _slice_masks(records, *rgb.shape[:2]), embeddings[0][0].float().cpu().numpy()


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
