"""Everything mode that returns the masks of Meta's `SamAutomaticMaskGenerator`, in its order.

`PointDecoder` decodes the grid of points. Only masks that pass the predicted-IoU threshold are
upscaled, and `MaskResize` takes them straight to the slice's size. Masks that pass the stability
threshold stay on the device as `MaskCandidates` until duplicates are suppressed.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
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

from umsam.data.masks import SliceMasks
from umsam.errors import InputError
from umsam.everything_mode.cuda_graphs import GraphedFunction
from umsam.everything_mode.factored_pixels import FactoredPixels
from umsam.everything_mode.image_encoder import ImageEncoder
from umsam.everything_mode.image_products import ImageProducts
from umsam.everything_mode.mask_candidates import (
    MaskCandidates,
    bounding_boxes,
    concatenate,
    count_pixels,
    no_candidates,
    pack_bits,
)
from umsam.everything_mode.mask_resize import MaskResize
from umsam.everything_mode.point_decoder import DecodedPoints, PointDecoder
from umsam.models.matmul_precision import HALF, matmul_precision

CROP_OVERLAP = 512 / 1500  # Meta's default, as a share of the slice's short side
CROP_NMS_THRESH = 0.7  # Meta's default


@dataclass(frozen=True)
class Crop:
    """A part of a slice, prepared for the encoder.

    Attributes
    ----------
    box
        x0, y0, x1, y1 in the slice.
    layer
        Crop layer; 0 is the whole slice.
    image
        The part at the encoder's size, uint8 [3, h, w], or [1, h, w] if its channels are equal.
    """

    box: list[int]
    layer: int
    image: Tensor

    @property
    def size(self) -> tuple[int, int]:
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0


class FastGenerator:
    """Segments slices; everything that depends only on the model is computed once.

    Parameters
    ----------
    sam
        The model.
    settings
        precision (fp32, tf32, bf16 or fp16, see `matmul_precision`), points_per_side (m),
        points_per_batch (upper limit; None: as many as memory allows), pred_iou_thresh,
        stability_score_thresh, stability_score_offset, box_nms_thresh, crop_n_layers,
        min_mask_region_area.
    """

    def __init__(self, sam: Sam, settings: Mapping[str, Any]) -> None:
        self.sam, self.settings = sam, settings
        self.transform = ResizeLongestSide(sam.image_encoder.img_size)
        with torch.no_grad():
            self.encoder = ImageEncoder(sam.image_encoder)
            self.decoder = PointDecoder(sam, select_pixels(sam, settings["precision"]))
        pool = torch.cuda.graph_pool_handle() if sam.device.type == "cuda" else None
        self.encode = GraphedFunction(self._encode, pool)
        self.decode = GraphedFunction(self._decode, pool)
        self.image: ImageProducts  # of the last encoded image
        self.finite: Tensor | bool = True
        self.batch_size = 0
        self.resizes: dict[tuple[int, int], MaskResize] = {}
        self.grids = build_all_layer_point_grids(
            settings["points_per_side"], settings["crop_n_layers"], 1
        )

    def __call__(self, rgb: NDArray[np.uint8]) -> tuple[SliceMasks, NDArray[np.float32]]:
        """Prepare and segment a slice, uint8 [H, W, 3]."""
        return self.segment(self.prepare(rgb))

    def prepare(self, rgb: NDArray[np.uint8]) -> list[Crop]:
        """Cut a slice into crops at the encoder's size, without using the device."""
        boxes, layers = generate_crop_boxes(
            rgb.shape[:2], self.settings["crop_n_layers"], CROP_OVERLAP
        )
        if (rgb == rgb[..., :1]).all():  # resize a single channel of a grey slice
            rgb = rgb[..., 0]
        crops = []
        for (x0, y0, x1, y1), layer in zip(boxes, layers, strict=True):
            image = self.transform.apply_image(np.ascontiguousarray(rgb[y0:y1, x0:x1]))
            image = torch.as_tensor(np.moveaxis(np.atleast_3d(image), 2, 0).copy())
            crops.append(Crop([x0, y0, x1, y1], layer, image))
        return crops

    def segment(self, crops: list[Crop]) -> tuple[SliceMasks, NDArray[np.float32]]:
        """Return all masks of a prepared slice, and SAM's embedding of it.

        Returns
        -------
        masks
            In the order of Meta's generator; there may be none.
        embedding
            float32 [256, h, w] of the whole slice. It covers the square of side max(H, W) that
            shares the slice's top-left corner: SAM pads at the right or at the bottom.

        Raises
        ------
        InputError
            SAM's numbers overflow in the chosen precision.
        """
        precision = self.settings["precision"]
        if precision == "tf32":  # for the encoder only: rounding in the decoder changes masks
            precision = "fp32"
        with torch.no_grad(), matmul_precision(precision, self.sam.device.type):
            return self._segment_slice(crops)

    def _segment_slice(self, crops: list[Crop]) -> tuple[SliceMasks, NDArray[np.float32]]:
        height, width = crops[0].size  # the first crop is the whole slice
        per_crop, crop_masks = [], []
        self.finite = True
        for crop in crops:
            x0, y0, x1, y1 = crop.box
            image = crop.image.to(self.sam.device)
            features, self.image = self.encode(self.sam.preprocess(image[None]))
            if crop is crops[0]:
                slice_features = features.clone()  # the next crop overwrites them
            candidates = self._segment_crop(crop, (height, width)).cpu()
            masks = np.zeros((len(candidates), height, width), bool)
            masks[:, y0:y1, x0:x1] = candidates.unpack(*crop.size)
            crop_masks.append(masks)
            candidates = replace(
                candidates,
                bits=candidates.bits[:, :0],
                box=uncrop_boxes_xyxy(candidates.box, crop.box),
                point=uncrop_points(candidates.point, crop.box),
            )
            per_crop.append(candidates)
        candidates, masks = concatenate(per_crop), np.concatenate(crop_masks)
        if len(crops) > 1:
            kept = _suppress_across_crops(crops, per_crop)
            candidates, masks = candidates[kept], masks[kept.numpy()]
        if self.settings["min_mask_region_area"] > 0 and len(masks):
            candidates, masks = self._remove_small_regions(candidates, masks)
        embedding = slice_features.cpu().numpy()
        if not (self.finite and np.isfinite(embedding).all()):
            raise InputError(
                f"sam.precision {self.settings['precision']}: SAM's numbers are not finite. Either "
                "they overflow in this precision (set sam.precision to tf32 or fp32), or its "
                "weights are damaged (download the checkpoint again)."
            )
        return candidates.to_slice_masks(masks), embedding

    def _encode(self, image: Tensor) -> tuple[Tensor, ImageProducts]:
        """Return the embedding [C, h, w] of an image [1, 3, S, S], in float32, and its products."""
        precision, device = self.settings["precision"], self.sam.device.type
        half = HALF.get(precision) if device == "cuda" else None
        autocast = torch.autocast("cuda", half, enabled=half is not None, cache_enabled=False)
        with matmul_precision(precision, device), autocast:
            embedding = self.encoder.encode(image)[0].float()
        return embedding, self.decoder.multiply_image(embedding)

    def _decode(self, prompts: Tensor) -> DecodedPoints:
        """Decode points, given by their prompts [P, N, C], in the last encoded image."""
        return self.decoder.decode(self.image, prompts)

    def _segment_crop(self, crop: Crop, size: tuple[int, int]) -> MaskCandidates:
        """Return the masks of a crop without duplicates, in the crop's coordinates.

        `size` is the height and width of the slice.
        """
        height, width = crop.size
        device, image = self.sam.device, self.image
        grid = self.grids[crop.layer] * np.array([[width, height]])
        points = torch.as_tensor(grid, device=device)
        prompts = self._embed_points(grid, crop.size)
        _, used_height, used_width = crop.image.shape
        resize = self._resize(image.size, (used_height, used_width), crop.size)
        parts = [no_candidates(height, width, device)]
        if not self.batch_size:
            self.batch_size = self._choose_batch_size(image, len(points))
        batches = (array.split(self.batch_size) for array in (points, prompts))
        for batch_points, batch_prompts in zip(*batches, strict=True):
            decoded = self.decode(batch_prompts)
            self.finite &= decoded.predicted_iou.isfinite().all()  # read at the end of the slice
            parts += self._select_masks(image, decoded, batch_points, resize)
        candidates = concatenate(parts)
        at_edge = is_box_near_crop_edge(candidates.box, crop.box, [0, 0, size[1], size[0]])
        candidates = candidates[~at_edge]
        threshold = self.settings["box_nms_thresh"]
        return candidates[nms(candidates.box.float(), candidates.predicted_iou, threshold)]

    def _embed_points(self, grid: NDArray[np.float64], size: tuple[int, int]) -> Tensor:
        """Embed foreground points x, y [P, 2] of a crop with SAM's prompt encoder, [P, N, C]."""
        device = self.sam.device
        coordinates = self.transform.apply_coords(grid, size)
        coordinates = torch.as_tensor(coordinates, device=device)[:, None]
        labels = torch.ones(len(grid), 1, dtype=torch.int, device=device)
        sparse, _ = self.sam.prompt_encoder(points=(coordinates, labels), boxes=None, masks=None)
        return sparse

    def _select_masks(
        self, image: ImageProducts, decoded: DecodedPoints, points: Tensor, resize: MaskResize
    ) -> Iterator[MaskCandidates]:
        """Yield the masks of decoded points that pass both thresholds, a few at a time."""
        settings, threshold = self.settings, self.sam.mask_threshold
        offset, lowest = settings["stability_score_offset"], settings["stability_score_thresh"]
        selection = torch.ones_like(decoded.predicted_iou, dtype=torch.bool)
        if settings["pred_iou_thresh"] > 0:
            selection = decoded.predicted_iou > settings["pred_iou_thresh"]
        point_index = selection.nonzero()[:, 0]
        if not len(point_index):
            return
        low = self.decoder.compute_mask_logits(image, decoded, selection)
        iou = decoded.predicted_iou[selection]
        step = _masks_per_step(low.device, math.prod(resize.size))
        for part in torch.arange(len(low), device=low.device).split(step):
            logits = resize(low[part])
            inner = count_pixels(logits > threshold + offset)
            stability = inner / count_pixels(logits > threshold - offset)
            if lowest > 0:
                stable = stability >= lowest
                logits, part, stability = logits[stable], part[stable], stability[stable]
            if len(logits):
                yield MaskCandidates(
                    bits=pack_bits(logits > threshold),
                    box=bounding_boxes(logits, threshold),
                    point=points[point_index[part]],
                    predicted_iou=iou[part],
                    stability_score=stability,
                )

    def _resize(
        self, grid: tuple[int, int], used: tuple[int, int], size: tuple[int, int]
    ) -> MaskResize:
        """Return the resize from the decoder's masks to an image size, made once per size."""
        if size not in self.resizes:
            low = 4 * grid[0], 4 * grid[1]
            square, device = self.sam.image_encoder.img_size, self.sam.device
            self.resizes[size] = MaskResize(low, square, used, size, device)
        return self.resizes[size]

    def _choose_batch_size(self, image: ImageProducts, points: int) -> int:
        """Return how many points to decode at once: what the cache or the GPU's memory holds.

        The setting points_per_batch is an upper limit. All batches have about the same size, so
        that few recordings of the decoder are needed on a GPU.
        """
        tokens = len(self.decoder.output_tokens) + 2
        heads = self.decoder.transformer.num_heads
        floats = tokens * heads * image.size[0] * image.size[1]
        device = self.sam.device
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            most = free // (10 * 4 * floats)  # ten arrays of this size at the peak
            # Larger batches are no faster. Without the kernels a point takes twice the memory.
            enough = 2 ** (28 if self.settings["precision"] in HALF else 27) // floats
        else:
            most = enough = 2**22 // floats
        most = max(1, min(self.settings["points_per_batch"] or enough, most))
        return -(-points // -(-points // most))

    def _remove_small_regions(
        self, candidates: MaskCandidates, masks: NDArray[np.bool_]
    ) -> tuple[MaskCandidates, NDArray[np.bool_]]:
        """Fill small holes, remove small islands and suppress the duplicates that result.

        This is Meta's own post-processing.
        """
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


def select_pixels(sam: Sam, precision: str) -> Callable[[], FactoredPixels]:
    """Return the class for the pixels of a batch: `TritonPixels` where its kernels run."""
    if sam.device.type != "cuda" or precision not in HALF:
        return FactoredPixels
    try:
        from umsam.everything_mode.triton_pixels import TritonPixels, kernels_run
    except ImportError:  # PyTorch without Triton
        return FactoredPixels
    return TritonPixels if kernels_run(sam) else FactoredPixels


def _suppress_across_crops(crops: list[Crop], per_crop: list[MaskCandidates]) -> Tensor:
    """Return the indices of the masks to keep: of duplicates, the one in the smallest crop."""
    areas = box_area(torch.tensor([crop.box for crop in crops]))
    counts = torch.tensor([len(candidates) for candidates in per_crop])
    scores = (1 / areas).repeat_interleave(counts)
    boxes = torch.cat([candidates.box for candidates in per_crop])
    return nms(boxes.float(), scores, CROP_NMS_THRESH)


def _masks_per_step(device: torch.device, pixels: int) -> int:
    """Return how many masks of so many pixels to resize at once."""
    floats = 2**20 if device.type == "cpu" else 2**27
    return max(1, floats // pixels)
