"""Oracle models in place of networks; they read the correct answer from the image.

In the test images the objects are brighter than 0.5, so the oracles are exact, and every error is
an error of the method.
"""

import numpy as np
import torch
from scipy import ndimage
from segment_anything import SamPredictor
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch.nn import functional as F

SIZE, CHANNELS = 64, 32


def small_sam() -> Sam:
    """A small SAM of Meta's modules with random weights."""
    grid = (SIZE // 16, SIZE // 16)
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=SIZE,
            patch_size=16,
            embed_dim=16,
            depth=1,
            num_heads=2,
            out_chans=CHANNELS,
            window_size=2,
            use_rel_pos=True,
        ),
        prompt_encoder=PromptEncoder(CHANNELS, grid, (SIZE, SIZE), 4),
        mask_decoder=MaskDecoder(
            transformer_dim=CHANNELS,
            transformer=TwoWayTransformer(1, CHANNELS, 2, 16),
            num_multimask_outputs=3,
            iou_head_hidden_dim=16,
        ),
    ).eval()


class OracleSam(SamPredictor):
    """Meta's predictor, with the network's output replaced by the object under the prompt.

    Of the three masks of an ambiguous prompt, the first is the object and has the best score, the
    second covers the slice, and the third is empty.
    """

    def __init__(self) -> None:
        super().__init__(small_sam())
        self.calls = 0

    def set_image(self, image, image_format="RGB"):
        super().set_image(image, image_format)
        self.features = torch.from_numpy(image[..., 0] > 127)

    def predict_torch(
        self,
        point_coords,
        point_labels,
        boxes=None,
        mask_input=None,
        multimask_output=True,
        return_logits=False,
    ):
        self.calls += 1
        objects, _ = ndimage.label(self.features.numpy(), np.ones((3, 3)))
        height, width = self.original_size
        scale = np.array([width / self.input_size[1], height / self.input_size[0]])
        mask = np.zeros((height, width), bool)
        if point_coords is not None:
            points = (point_coords[0].numpy() * scale).astype(int)
            for (x, y), positive in zip(points, point_labels[0].tolist(), strict=True):
                index = objects[y, x]
                if positive and index:
                    mask |= objects == index
                assert positive or not self.features[y, x]  # a background click is outside
        if boxes is not None:
            x0, y0, x1, y1 = (boxes[0].numpy().reshape(2, 2) * scale).ravel()
            rows, columns = np.nonzero(objects)
            inside = (columns >= x0 - 1) & (columns < x1 + 1) & (rows >= y0 - 1) & (rows < y1 + 1)
            mask[rows[inside], columns[inside]] = True
        outputs = [mask]
        if multimask_output:
            outputs += [np.ones_like(mask), np.zeros_like(mask)]
        masks = torch.from_numpy(np.stack(outputs))[None]
        scores = torch.tensor([[0.9, 0.8, 0.7]])[:, : len(outputs)]
        return masks, scores, self._low_res(masks)

    def _low_res(self, masks):
        """Low-res logits: the depth inside the object, and a large value in the padding."""
        side = 4 * self.model.prompt_encoder.image_embedding_size[0]
        depths = torch.tensor(
            np.stack([ndimage.distance_transform_edt(mask) for mask in masks[0].numpy()])
        )
        signed = torch.where(masks[0], depths, -1.0).float()[None]
        inside = [
            round(side * length / self.model.image_encoder.img_size) for length in self.input_size
        ]
        logits = torch.full((1, len(depths), side, side), 50.0)
        logits[..., : inside[0], : inside[1]] = F.interpolate(signed, inside, mode="area")
        return logits


def balls(shape, centres, radius, spacing=(1.0, 1.0, 1.0)):
    """Boolean volume [Z, H, W] of balls."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    distances = [np.linalg.norm((grid - centre) * spacing, axis=-1) for centre in centres]
    return np.min(distances, axis=0) < radius


def bright(*objects):
    """A volume in [0, 1] in which these objects are bright and everything else is dark."""
    return np.where(np.any(objects, axis=0), 0.9, 0.1).astype(np.float32)
