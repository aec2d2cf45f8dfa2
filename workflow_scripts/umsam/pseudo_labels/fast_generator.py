"""Everything mode: the masks of Meta's `SamAutomaticMaskGenerator`, in its order, for less work.

The points go through `PointDecoder`; only masks whose predicted IoU passes are upscaled at all, and
straight to the slice's size (`MaskResize`). What passes the stability score waits as bits until the
suppression of doubles has chosen.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import Sam
from segment_anything.utils.amg import (
    MaskData,
    build_all_layer_point_grids,
    generate_crop_boxes,
    is_box_near_crop_edge,
    mask_to_rle_pytorch,
    rle_to_mask,
    uncrop_boxes_xyxy,
    uncrop_points,
)
from torch import Tensor
from torchvision.ops import box_area, nms

from umsam.pseudo_labels.mask_resize import MaskResize
from umsam.pseudo_labels.masks import SliceMasks
from umsam.pseudo_labels.point_decoder import Decoded, ImageTerms, PointDecoder

CROP_OVERLAP = 512 / 1500  # of Meta's generator, as a share of the short side
CROP_NMS_THRESH = 0.7


@dataclass(frozen=True)
class Candidates:
    """N masks of a crop that passed the thresholds, on the CPU.

    `bits` uint8 [N, bytes] holds each mask row by row, eight pixels a byte; `box` int64 [N, 4] is
    x0, y0, x1, y1 (inclusive); `point` float64 [N, 2]; `predicted_iou` and `stability_score`
    float32 [N].
    """

    bits: Tensor
    box: Tensor
    point: Tensor
    predicted_iou: Tensor
    stability_score: Tensor

    def __getitem__(self, chosen: Tensor) -> "Candidates":
        return Candidates(*(value[chosen] for value in vars(self).values()))

    @staticmethod
    def joined(parts: list["Candidates"]) -> "Candidates":
        values = zip(*(vars(part).values() for part in parts), strict=True)
        return Candidates(*map(torch.cat, values))


class FastGenerator:
    """Masks of slices; what depends on the model alone is worked out once.

    Parameters
    ----------
    settings
        precision (fp32, tf32 or bf16, see `reduced`), points_per_side (m), points_per_batch (at
        most), pred_iou_thresh, stability_score_thresh, stability_score_offset, box_nms_thresh,
        crop_n_layers, min_mask_region_area; no nulls.
    """

    def __init__(self, sam: Sam, settings: Mapping[str, Any]) -> None:
        self.sam, self.settings = sam, settings
        self.predictor = SamPredictor(sam)
        with torch.no_grad():
            self.decoder = PointDecoder(sam)
        self.resizes: dict[tuple[int, int], MaskResize] = {}
        self.grids = build_all_layer_point_grids(
            settings["points_per_side"], settings["crop_n_layers"], 1
        )

    def __call__(self, rgb: NDArray[np.uint8]) -> tuple[SliceMasks, NDArray[np.float32]]:
        """All masks of a slice, and SAM's embedding of it.

        Parameters
        ----------
        rgb
            uint8 [H, W, 3].

        Returns
        -------
        masks
            In the order of Meta's generator; none is no error.
        embedding
            float32 [256, h, w] of the whole slice. It covers the square of side max(H, W) whose
            top-left corner is the slice's: SAM pads at the right or the bottom.
        """
        with torch.no_grad(), reduced(self.settings["precision"]):
            return self._slice(rgb)

    def _slice(self, rgb: NDArray[np.uint8]) -> tuple[SliceMasks, NDArray[np.float32]]:
        height, width = rgb.shape[:2]
        boxes, layers = generate_crop_boxes(
            (height, width), self.settings["crop_n_layers"], CROP_OVERLAP
        )
        found, masks, crops = [], [], []
        for number, (box, layer) in enumerate(zip(boxes, layers, strict=True)):
            x0, y0, x1, y1 = box
            self._encode(np.ascontiguousarray(rgb[y0:y1, x0:x1]))
            if number == 0:
                embedding = self.predictor.features[0].cpu().numpy()
            kept = self._crop(box, layer, (height, width))
            whole = np.zeros((len(kept.box), height, width), bool)
            whole[:, y0:y1, x0:x1] = _unpacked(kept.bits, y1 - y0, x1 - x0)
            found.append(
                replace(
                    kept,
                    bits=kept.bits[:, :0],
                    box=uncrop_boxes_xyxy(kept.box, box),
                    point=uncrop_points(kept.point, box),
                )
            )
            masks.append(whole)
            crops.append(torch.tensor(box).expand(len(whole), 4))
        candidates, masks = Candidates.joined(found), np.concatenate(masks)
        if len(boxes) > 1:  # of doubles in several crops the one of the smallest stays
            scores = 1 / box_area(torch.cat(crops))
            chosen = nms(candidates.box.float(), scores, CROP_NMS_THRESH)
            candidates, masks = candidates[chosen], masks[chosen.numpy()]
        if self.settings["min_mask_region_area"] > 0 and len(masks):
            candidates, masks = self._without_small_regions(candidates, masks)
        return _slice_masks(candidates, masks), embedding

    def _encode(self, rgb: NDArray[np.uint8]) -> None:
        """The predictor's image and its embedding, which is float32 in every precision."""
        half = self.settings["precision"] == "bf16"
        with torch.autocast(self.sam.device.type, torch.bfloat16, enabled=half):
            self.predictor.set_image(rgb)
        self.predictor.features = self.predictor.features.float()

    def _crop(self, box: list[int], layer: int, size: tuple[int, int]) -> Candidates:
        """The masks of the predictor's image, doubles suppressed, in the crop's coordinates."""
        predictor = self.predictor
        height, width = predictor.original_size
        points = self.grids[layer] * np.array([[width, height]])
        coordinates = predictor.transform.apply_coords(points, (height, width))
        coordinates = torch.as_tensor(coordinates, device=self.sam.device)[:, None]
        labels = torch.ones(len(points), 1, dtype=torch.int, device=self.sam.device)
        sparse, _ = self.sam.prompt_encoder(points=(coordinates, labels), boxes=None, masks=None)
        image = self.decoder.image_terms(predictor.features[0])
        resize = self._resize(image.size, predictor.input_size, predictor.original_size)
        parts = [_none(height, width)]
        for batch in torch.arange(len(points)).split(self._batch_size(image)):
            decoded = self.decoder.decode(image, sparse[batch[0] : batch[-1] + 1])
            for which, bits, boxes, iou, stability in self._masks(image, decoded, resize):
                point = torch.as_tensor(points)[batch[which]]
                parts.append(Candidates(bits, boxes, point, iou, stability))
        found = Candidates.joined(parts)
        found = found[~is_box_near_crop_edge(found.box, box, [0, 0, size[1], size[0]])]
        return found[nms(found.box.float(), found.predicted_iou, self.settings["box_nms_thresh"])]

    def _masks(
        self, image: ImageTerms, decoded: Decoded, resize: MaskResize
    ) -> Iterator[tuple[Tensor, ...]]:
        """Masks of decoded points that pass both thresholds, a few at a time.

        Yields the index of the point, the bits, the box, the predicted IoU and the stability.
        """
        settings, threshold = self.settings, self.sam.mask_threshold
        offset, lowest = settings["stability_score_offset"], settings["stability_score_thresh"]
        wanted = torch.ones_like(decoded.predicted_iou, dtype=torch.bool)
        if settings["pred_iou_thresh"] > 0:
            wanted = decoded.predicted_iou > settings["pred_iou_thresh"]
        points = wanted.any(dim=1).nonzero()[:, 0]
        if not len(points):
            return
        wanted = wanted[points]
        low = self.decoder.mask_logits(image, decoded.at(points), wanted)
        which = points[wanted.nonzero()[:, 0]]
        iou = decoded.predicted_iou[points][wanted]
        pixels = len(resize.weights[0]) * resize.columns.shape[1]
        for part in torch.arange(len(low), device=low.device).split(_masks_at_once(low, pixels)):
            logits = resize(low[part])
            inner = _count(logits > threshold + offset)
            stability = inner / _count(logits > threshold - offset)
            if lowest > 0:
                stable = stability >= lowest
                logits, part, stability = logits[stable], part[stable], stability[stable]
            if len(logits):
                box = _boxes(logits, threshold)
                found = (which[part], _packed(logits > threshold), box, iou[part], stability)
                yield tuple(value.cpu() for value in found)

    def _resize(
        self, grid: tuple[int, int], used: tuple[int, int], size: tuple[int, int]
    ) -> MaskResize:
        """From the decoder's masks to an image size; made once a size."""
        if size not in self.resizes:
            low = tuple(4 * n for n in grid)
            square, device = self.sam.image_encoder.img_size, self.sam.device
            self.resizes[size] = MaskResize(low, square, used, size, device)
        return self.resizes[size]

    def _batch_size(self, image: ImageTerms) -> int:
        """Points at once: what the cache holds, or the GPU's free memory, up to the setting."""
        tokens = len(self.decoder.output_tokens) + 2
        heads = self.decoder.transformer.num_heads
        floats = tokens * heads * image.size[0] * image.size[1]
        if self.sam.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.sam.device)
            most = free // (10 * 4 * floats)  # ten arrays of this size at the peak
        else:
            most = 2**21 // floats
        return max(1, min(self.settings["points_per_batch"], most))

    def _without_small_regions(
        self, candidates: Candidates, masks: NDArray[np.bool_]
    ) -> tuple[Candidates, NDArray[np.bool_]]:
        """Meta's removal of small holes and islands, and of what has become a double by it."""
        data = MaskData(
            rles=mask_to_rle_pytorch(torch.as_tensor(masks)),
            boxes=candidates.box,
            order=torch.arange(len(masks)),
        )
        data = SamAutomaticMaskGenerator.postprocess_small_regions(
            data,
            self.settings["min_mask_region_area"],
            max(self.settings["box_nms_thresh"], CROP_NMS_THRESH),
        )
        kept = replace(candidates[data["order"]], box=data["boxes"])
        return kept, np.stack([rle_to_mask(rle) for rle in data["rles"]])


@contextmanager
def reduced(precision: str) -> Iterator[None]:
    """Let products of float32 numbers be rounded to TF32 or bfloat16; fp32 leaves all as it is.

    Only where the hardware does it: TF32 on a GPU for both, bfloat16 on some processors. The
    setting is the process's, so it is put back.
    """
    before = torch.get_float32_matmul_precision()
    if precision != "fp32":
        torch.set_float32_matmul_precision({"tf32": "high", "bf16": "medium"}[precision])
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _none(height: int, width: int) -> Candidates:
    return Candidates(
        bits=torch.zeros(0, -(-height * width // 8), dtype=torch.uint8),
        box=torch.zeros(0, 4, dtype=torch.int64),
        point=torch.zeros(0, 2, dtype=torch.float64),
        predicted_iou=torch.zeros(0),
        stability_score=torch.zeros(0),
    )


def _masks_at_once(low: Tensor, pixels: int) -> int:
    floats = 2**20 if low.device.type == "cpu" else 2**27
    return max(1, floats // pixels)


def _count(masks: Tensor) -> Tensor:
    """Pixels of each mask [N, H, W]."""
    return masks.flatten(1).sum(dim=1, dtype=torch.int32)


def _boxes(logits: Tensor, threshold: float) -> Tensor:
    """x0, y0, x1, y1 (inclusive) of the pixels above the threshold, [N, 4]; zeros for none."""
    ends = []
    for dim in (1, 2):  # the columns, then the rows, that hold a pixel
        inside = logits.amax(dim=dim) > threshold
        last = inside.shape[1] - 1 - inside.flip(1).int().argmax(dim=1)
        ends.append((inside.int().argmax(dim=1), last, inside.any(dim=1)))
    (x0, x1, some), (y0, y1, _) = ends
    return torch.stack([x0, y0, x1, y1], dim=1) * some[:, None]


def _packed(masks: Tensor) -> Tensor:
    """Eight pixels a byte, [N, bytes], on the CPU."""
    return torch.from_numpy(np.packbits(masks.flatten(1).cpu().numpy(), axis=1))


def _unpacked(bits: Tensor, height: int, width: int) -> NDArray[np.bool_]:
    pixels = np.unpackbits(bits.numpy(), axis=1, count=height * width)
    return pixels.view(bool).reshape(-1, height, width)


def _slice_masks(candidates: Candidates, masks: NDArray[np.bool_]) -> SliceMasks:
    box = candidates.box.numpy().astype(np.int32)
    box[:, 2:] -= box[:, :2]
    return SliceMasks(
        masks=masks,
        predicted_iou=candidates.predicted_iou.numpy(),
        stability_score=candidates.stability_score.numpy(),
        box=box,
        point=candidates.point.numpy().astype(np.float32),
    )
