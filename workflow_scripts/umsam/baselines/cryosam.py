"""CryoSAM: one click per volume, extended by feature matching (a row of Table 1).

Zhao et al., "Training-free CryoET tomogram segmentation", 2024. SAM tracks the clicked object from
slice to slice. The feature at the object's centroid is matched over the volume, coarse to fine.
Each match becomes a click of its own, and the result is the union of all tracked objects.

The original is designed for nearly cubic tomograms with many small particles. This version for
stacks of thick slices differs in four points: the area limit is a share of the slice instead of
32 x 32 pixels; features come from the slices only, not from all three planes; the grids are
coarsened only within slices; and the result always includes the clicked object.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamPredictor
from torch import Tensor
from torch.nn import functional as F

from umsam.data.intensity import to_rgb_uint8
from umsam.jobs import progress

WINDOW = 5
"""Side, in grid nodes, of the cube in which a match has the largest similarity."""

Point = tuple[float, float]


class Slices:
    """SAM on the slices of a volume [Z, H, W] in [0, 1]; each slice is encoded once, on demand."""

    def __init__(self, predictor: SamPredictor, volume: NDArray[np.floating]) -> None:
        self.predictor = predictor
        self.volume = volume
        self.embeddings: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.volume)

    def segment(
        self, z: int, point: Point, mask_input: NDArray | None = None
    ) -> tuple[NDArray[np.bool_], NDArray, NDArray]:
        """SAM's three masks [3, H, W] of a click on slice z, with scores and low-res logits."""
        if z in self.embeddings:
            self.predictor.features = self.embeddings[z]  # all slices have the same size
        else:
            self.predictor.set_image(to_rgb_uint8(self.volume[z]))
            self.embeddings[z] = self.predictor.features
        return self.predictor.predict(
            point_coords=np.array([point]), point_labels=np.ones(1, int), mask_input=mask_input
        )

    def most_certain_point(self, logits: NDArray[np.floating]) -> Point:
        """The point of the slice with the largest low-res logit [L, L].

        The logits cover SAM's square input; its padding at right and bottom is ignored.
        """
        height, width = self.predictor.input_size
        cell = self.predictor.model.image_encoder.img_size / len(logits)
        inside = logits[: int(np.ceil(height / cell)), : int(np.ceil(width / cell))]
        y, x = np.unravel_index(inside.argmax(), inside.shape)
        rows, columns = self.volume.shape[1:]
        return (
            min((x + 0.5) * cell * columns / width, columns - 0.5),
            min((y + 0.5) * cell * rows / height, rows - 0.5),
        )


def track_object(
    slices: Slices, z: int, point: Point, max_area: float, min_iou: float
) -> NDArray[np.bool_]:
    """The mask [Z, H, W] of the object under a click on slice z, tracked in both directions.

    The prompt on the next slice is the point of the largest logit and the previous mask. SAM's
    acceptable mask with the best score is chosen. A mask is acceptable if it covers less than
    `max_area` of the slice and, on slices other than z, if its IoU with the previous mask exceeds
    `min_iou`. The object ends where no mask is acceptable; the result may be empty.
    """
    tracked = np.zeros(slices.volume.shape, bool)
    first = _choose(*slices.segment(z, point), None, max_area, min_iou)
    if first is None:
        return tracked
    tracked[z] = first[0]
    for step in (-1, 1):
        mask, logits = first
        at = z + step
        while 0 <= at < len(slices):
            mask_input = (logits > 0)[None].astype(np.float32)
            outputs = slices.segment(at, slices.most_certain_point(logits), mask_input)
            choice = _choose(*outputs, mask, max_area, min_iou)
            if choice is None:
                break
            mask, logits = choice
            tracked[at] = mask
            at += step
    return tracked


def find_matches(
    features: NDArray[np.float32],
    query: Tensor,
    shape: tuple[int, int],
    ratios: Sequence[int],
    similarity: float,
    top_k: int,
) -> list[tuple[int, Point]]:
    """Slice and point of the places whose features are similar to a query, best first.

    The search runs over grids from coarse to fine. On the finest grid, the matches are the local
    maxima of the similarity.

    Parameters
    ----------
    features
        [Z, D, h, w]: feature maps that cover the whole slices.
    query
        [D].
    shape
        (H, W) of a slice.
    ratios
        Spacing of each grid's nodes in pixels, coarse to fine.
    similarity
        Minimum cosine similarity of a node on all grids but the finest; the next grid is searched
        only below such nodes.
    top_k
        Maximum number of matches.
    """
    maps = torch.from_numpy(features)
    similar = None
    for level, ratio in enumerate(ratios):
        size = max(1, shape[0] // ratio), max(1, shape[1] // ratio)
        cosine = torch.stack([_cosine(feature_map, query, size) for feature_map in maps])
        if similar is not None:
            below = F.interpolate(similar[:, None].float(), size, mode="nearest")[:, 0] > 0
            cosine = cosine.masked_fill(~below, -torch.inf)
        if level < len(ratios) - 1:
            similar = cosine >= similarity
    best = F.max_pool3d(cosine[None], WINDOW, stride=1, padding=WINDOW // 2)[0]
    nodes = torch.nonzero((cosine == best) & cosine.isfinite())
    order = cosine[tuple(nodes.T)].argsort(descending=True, stable=True)[:top_k]
    scale_y, scale_x = shape[0] / size[0], shape[1] / size[1]
    return [(z, ((x + 0.5) * scale_x, (y + 0.5) * scale_y)) for z, y, x in nodes[order].tolist()]


def cryosam(
    slices: Slices,
    features: NDArray[np.float32],
    z: int,
    point: Point,
    settings: Mapping[str, Any],
) -> tuple[NDArray[np.bool_], int]:
    """The mask [Z, H, W] of all objects like the one clicked on slice z, and the number of matches.

    settings: max_area and min_iou of `track_object`; similarity, ratios and top_k of
        `find_matches`.

    The mask is empty if SAM returns no acceptable mask for the click.
    """
    limits = settings["max_area"], settings["min_iou"]
    mask = track_object(slices, z, point, *limits)
    if not mask.any():
        return mask, 0
    query = centroid_feature(features, mask)
    _, height, width = mask.shape
    search = settings["ratios"], settings["similarity"], settings["top_k"]
    matches = find_matches(features, query, (height, width), *search)
    for match_z, match_point in progress(matches, len(matches), "matches"):
        mask = mask | track_object(slices, match_z, match_point, *limits)
    return mask, len(matches)


def centroid_feature(features: NDArray[np.float32], mask: NDArray[np.bool_]) -> Tensor:
    """The feature [D] at the centroid of a mask [Z, H, W], from the nearest slice."""
    z, y, x = np.argwhere(mask).mean(axis=0)
    height, width = mask.shape[1:]
    node = torch.tensor([[[[2 * (x + 0.5) / width - 1, 2 * (y + 0.5) / height - 1]]]])
    return _sample(torch.from_numpy(features[round(z)]), node.float())[:, 0, 0]


def _choose(
    masks: NDArray[np.bool_],
    scores: NDArray,
    logits: NDArray,
    previous: NDArray[np.bool_] | None,
    max_area: float,
    min_iou: float,
) -> tuple[NDArray[np.bool_], NDArray] | None:
    """The acceptable mask with the best score and its logits, or None."""
    acceptable = (scores > 0) & (masks.mean(axis=(1, 2)) < max_area) & masks.any(axis=(1, 2))
    if previous is not None:
        union = (masks | previous).sum(axis=(1, 2))
        acceptable &= (masks & previous).sum(axis=(1, 2)) > min_iou * union
    if not acceptable.any():
        return None
    best = np.where(acceptable, scores, -np.inf).argmax()
    return masks[best], logits[best]


def _cosine(feature_map: Tensor, query: Tensor, size: tuple[int, int]) -> Tensor:
    """Cosine similarity of a feature map [D, h, w] to a feature [D] on a grid: [gh, gw]."""
    theta = torch.eye(2, 3)[None]
    nodes = F.affine_grid(theta, [1, 1, *size], align_corners=False)
    return F.cosine_similarity(_sample(feature_map, nodes), query[:, None, None], dim=0)


def _sample(feature_map: Tensor, nodes: Tensor) -> Tensor:
    """A feature map [D, h, w] sampled at nodes [1, gh, gw, 2] in [-1, 1]: [D, gh, gw]."""
    return F.grid_sample(feature_map[None], nodes, padding_mode="border", align_corners=False)[0]
