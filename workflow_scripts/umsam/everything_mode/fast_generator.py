"""Everything mode: the masks of Meta's `SamAutomaticMaskGenerator`, in its order, for less work.

The points go through `PointDecoder`; only masks whose predicted IoU passes are upscaled at all, and
straight to the slice's size (`MaskResize`). What passes the stability score waits as bits, where it
was computed, until the suppression of doubles has chosen.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator
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
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor
from torchvision.ops import box_area, nms

from umsam.errors import InputError
from umsam.everything_mode.image_encoder import ImageEncoder
from umsam.everything_mode.image_terms import ImageTerms
from umsam.everything_mode.mask_resize import MaskResize
from umsam.data.masks import SliceMasks
from umsam.everything_mode.pixels import Pixels
from umsam.everything_mode.point_decoder import Decoded, PointDecoder
from umsam.models.matmul_precision import HALF, matmul_precision
from umsam.everything_mode.recorded import Recorded

CROP_OVERLAP = 512 / 1500  # of Meta's generator, as a share of the short side
CROP_NMS_THRESH = 0.7


@dataclass(frozen=True)
class Candidates:
    """N masks of a crop that passed the thresholds.

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

    def cpu(self) -> "Candidates":
        return Candidates(*(value.cpu() for value in vars(self).values()))

    @staticmethod
    def joined(parts: list["Candidates"]) -> "Candidates":
        values = zip(*(vars(part).values() for part in parts), strict=True)
        return Candidates(*map(torch.cat, values))


@dataclass(frozen=True)
class Crop:
    """A part of a slice: its `box` x0, y0, x1, y1, the `layer` of crops, and the part in the size
    that the encoder sees, `image` uint8 [3, h, w], or [1, h, w] where its channels are equal."""

    box: list[int]
    layer: int
    image: Tensor

    @property
    def size(self) -> tuple[int, int]:
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0


class FastGenerator:
    """Masks of slices; what depends on the model alone is worked out once.

    Parameters
    ----------
    settings
        precision (fp32, tf32, bf16 or fp16, see `products`), points_per_side (m), points_per_batch
        (at most; None: what memory holds), pred_iou_thresh, stability_score_thresh,
        stability_score_offset, box_nms_thresh, crop_n_layers, min_mask_region_area.
    """

    def __init__(self, sam: Sam, settings: Mapping[str, Any]) -> None:
        self.sam, self.settings = sam, settings
        self.transform = ResizeLongestSide(sam.image_encoder.img_size)
        with torch.no_grad():
            self.encoder = ImageEncoder(sam.image_encoder)
            self.decoder = PointDecoder(sam, pixels_for(sam, settings["precision"]))
        pool = torch.cuda.graph_pool_handle() if sam.device.type == "cuda" else None
        self.seen = Recorded(self._seen, pool)  # by the encoder
        self.decoded = Recorded(self._decoded, pool)
        self.points_at_once = 0
        self.resizes: dict[tuple[int, int], MaskResize] = {}
        self.grids = build_all_layer_point_grids(
            settings["points_per_side"], settings["crop_n_layers"], 1
        )

    def __call__(self, rgb: NDArray[np.uint8]) -> tuple[SliceMasks, NDArray[np.float32]]:
        """`find` of a slice uint8 [H, W, 3] that is prepared first."""
        return self.find(self.prepare(rgb))

    def prepare(self, rgb: NDArray[np.uint8]) -> list[Crop]:
        """The slice and its crops in the encoder's size; the device has no part in it."""
        boxes, layers = generate_crop_boxes(
            rgb.shape[:2], self.settings["crop_n_layers"], CROP_OVERLAP
        )
        if (rgb == rgb[..., :1]).all():  # a grey slice is resized once
            rgb = rgb[..., 0]
        crops = []
        for (x0, y0, x1, y1), layer in zip(boxes, layers, strict=True):
            image = self.transform.apply_image(np.ascontiguousarray(rgb[y0:y1, x0:x1]))
            image = torch.as_tensor(np.moveaxis(np.atleast_3d(image), 2, 0).copy())
            crops.append(Crop([x0, y0, x1, y1], layer, image))
        return crops

    def find(self, crops: list[Crop]) -> tuple[SliceMasks, NDArray[np.float32]]:
        """All masks of a prepared slice, and SAM's embedding of it.

        Returns
        -------
        masks
            In the order of Meta's generator; none is no error.
        embedding
            float32 [256, h, w] of the whole slice. It covers the square of side max(H, W) whose
            top-left corner is the slice's: SAM pads at the right or the bottom.

        Raises
        ------
        InputError
            SAM's numbers overflow in the precision.
        """
        decoding = self.settings["precision"]
        if decoding == "tf32":  # is for the encoder: rounding the decoder's products changes masks
            decoding = "fp32"
        with torch.no_grad(), matmul_precision(decoding, self.sam.device.type):
            return self._slice(crops)

    def _slice(self, crops: list[Crop]) -> tuple[SliceMasks, NDArray[np.float32]]:
        height, width = crops[0].size  # the first is the slice
        found, masks, embedding, self.finite = [], [], None, True
        for crop in crops:
            x0, y0, x1, y1 = crop.box
            image = crop.image.to(self.sam.device)
            features, self.image = self.seen(self.sam.preprocess(image[None]))
            embedding = features.clone() if embedding is None else embedding
            kept = self._crop(crop, (height, width)).cpu()
            whole = np.zeros((len(kept.box), height, width), bool)
            whole[:, y0:y1, x0:x1] = _unpacked(kept.bits, *crop.size)
            found.append(
                replace(
                    kept,
                    bits=kept.bits[:, :0],
                    box=uncrop_boxes_xyxy(kept.box, crop.box),
                    point=uncrop_points(kept.point, crop.box),
                )
            )
            masks.append(whole)
        candidates, masks = Candidates.joined(found), np.concatenate(masks)
        if len(crops) > 1:  # of doubles in several crops the one of the smallest stays
            areas = box_area(torch.tensor([crop.box for crop in crops]))
            counts = torch.tensor([len(each.box) for each in found])
            scores = (1 / areas).repeat_interleave(counts)
            chosen = nms(candidates.box.float(), scores, CROP_NMS_THRESH)
            candidates, masks = candidates[chosen], masks[chosen.numpy()]
        if self.settings["min_mask_region_area"] > 0 and len(masks):
            candidates, masks = self._without_small_regions(candidates, masks)
        embedding = embedding.cpu().numpy()
        if not (self.finite and np.isfinite(embedding).all()):
            raise InputError(
                f"sam.precision {self.settings['precision']}: SAM's numbers are not finite. They "
                "are too large for this precision, or its weights are damaged: take tf32 or fp32."
            )
        return _slice_masks(candidates, masks), embedding

    def _seen(self, image: Tensor) -> tuple[Tensor, ImageTerms]:
        """The embedding [C, h, w] of an image [1, 3, S, S], float32, and what it is to points."""
        precision, device = self.settings["precision"], self.sam.device.type
        half = HALF.get(precision) if device == "cuda" else None
        autocast = torch.autocast("cuda", half, enabled=half is not None, cache_enabled=False)
        with matmul_precision(precision, device), autocast:
            embedding = self.encoder.encode(image)[0].float()
        return embedding, self.decoder.image_terms(embedding)

    def _decoded(self, prompts: Tensor) -> Decoded:
        """Points by their prompts [P, N, C], in the image seen last."""
        return self.decoder.decode(self.image, prompts)

    def _crop(self, crop: Crop, size: tuple[int, int]) -> Candidates:
        """The masks of a crop of a slice of `size`, doubles suppressed, in its own coordinates."""
        height, width = crop.size
        device, image = self.sam.device, self.image
        points = self.grids[crop.layer] * np.array([[width, height]])
        coordinates = self.transform.apply_coords(points, crop.size)
        points = torch.as_tensor(points, device=device)
        coordinates = torch.as_tensor(coordinates, device=device)[:, None]
        labels = torch.ones(len(points), 1, dtype=torch.int, device=device)
        sparse, _ = self.sam.prompt_encoder(points=(coordinates, labels), boxes=None, masks=None)
        resize = self._resize(image.size, tuple(crop.image.shape[1:]), crop.size)
        parts = [_none(height, width, device)]
        if not self.points_at_once:
            self.points_at_once = self._batch_size(image, len(points))
        batches = (each.split(self.points_at_once) for each in (points, sparse))
        for at, prompts in zip(*batches, strict=True):
            decoded = self.decoded(prompts)
            self.finite &= decoded.predicted_iou.isfinite().all()  # waited for at the slice's end
            for which, bits, boxes, iou, stability in self._masks(image, decoded, resize):
                parts.append(Candidates(bits, boxes, at[which], iou, stability))
        found = Candidates.joined(parts)
        found = found[~is_box_near_crop_edge(found.box, crop.box, [0, 0, size[1], size[0]])]
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
        which = wanted.nonzero()[:, 0]
        if not len(which):
            return
        low = self.decoder.mask_logits(image, decoded, wanted)
        iou = decoded.predicted_iou[wanted]
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
                yield which[part], _packed(logits > threshold), box, iou[part], stability

    def _resize(
        self, grid: tuple[int, int], used: tuple[int, int], size: tuple[int, int]
    ) -> MaskResize:
        """From the decoder's masks to an image size; made once a size."""
        if size not in self.resizes:
            low = tuple(4 * n for n in grid)
            square, device = self.sam.image_encoder.img_size, self.sam.device
            self.resizes[size] = MaskResize(low, square, used, size, device)
        return self.resizes[size]

    def _batch_size(self, image: ImageTerms, points: int) -> int:
        """Points at once: what the cache holds, or the GPU's free memory, up to the setting.

        All batches are of about one size, which a GPU's recordings ask for.
        """
        tokens = len(self.decoder.output_tokens) + 2
        heads = self.decoder.transformer.num_heads
        floats = tokens * heads * image.size[0] * image.size[1]
        device = self.sam.device
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            most = free // (10 * 4 * floats)  # ten arrays of this size at the peak
            # More at once are no faster. Without the kernels a point takes twice the memory.
            enough = 2 ** (28 if self.settings["precision"] in HALF else 27) // floats
        else:
            most = enough = 2**22 // floats
        most = max(1, min(self.settings["points_per_batch"] or enough, most))
        return -(-points // -(-points // most))

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


def pixels_for(sam: Sam, precision: str) -> Callable[[], Pixels]:
    """What makes the `Pixels` of a batch: the fused ones on a GPU that can have them."""
    if sam.device.type != "cuda" or precision not in HALF:
        return Pixels
    try:
        from umsam.everything_mode.fused_pixels import FusedPixels, runs
    except ImportError:  # PyTorch without Triton
        return Pixels
    return FusedPixels if runs(sam) else Pixels


def _none(height: int, width: int, device: torch.device) -> Candidates:
    return Candidates(
        bits=torch.zeros(0, -(-height * width // 8), dtype=torch.uint8, device=device),
        box=torch.zeros(0, 4, dtype=torch.int64, device=device),
        point=torch.zeros(0, 2, dtype=torch.float64, device=device),
        predicted_iou=torch.zeros(0, device=device),
        stability_score=torch.zeros(0, device=device),
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
    """Eight pixels a byte, the first in the highest bit, [N, bytes]."""
    pixels = masks.flatten(1)
    if pixels.device.type == "cpu":
        return torch.from_numpy(np.packbits(pixels.numpy(), axis=1))
    return _packed_by_torch(pixels)


def _packed_by_torch(pixels: Tensor) -> Tensor:
    """`np.packbits` of [N, pixels]."""
    pixels = F.pad(pixels, (0, -pixels.shape[1] % 8)).view(torch.uint8).unflatten(1, (-1, 8))
    values = 1 << torch.arange(7, -1, -1, dtype=torch.uint8, device=pixels.device)
    return (pixels * values).sum(dim=2, dtype=torch.uint8)


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
