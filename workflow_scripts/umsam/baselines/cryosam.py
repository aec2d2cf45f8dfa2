"""CryoSAM: one click a volume, expanded by matching features (a row of Table 1).

Zhao et al., "Training-free CryoET tomogram segmentation", 2024 (CryoSAM). SAM's mask of the clicked
object is carried from slice to slice; the feature at that object's centroid is matched over the
volume, coarse to fine; every match is a click of its own, and the result is the union.

The original is made for near-cubic tomograms full of small particles. For stacks of thick slices
four things differ: the area limit is a share of the slice and not 32 x 32 pixels; features are
those of the slices alone, and not also of the two other planes; the grids are coarser within the
slices only; and the clicked object itself always belongs to the result.
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
"""A match is the best of a cube of so many grid nodes along z, y and x."""

Point = tuple[float, float]


class Slices:
    """SAM on the slices of a volume [Z, H, W] in [0, 1]; each is encoded once, when needed."""

    def __init__(self, predictor: SamPredictor, volume: NDArray[np.floating]) -> None:
        self.predictor = predictor
        self.volume = volume
        self.embeddings: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.volume)

    def segment(
        self, z: int, point: Point, mask_input: NDArray | None = None
    ) -> tuple[NDArray[np.bool_], NDArray, NDArray]:
        """SAM's three masks [3, H, W] of a click on slice z, their scores and low-res logits."""
        if z in self.embeddings:
            self.predictor.features = self.embeddings[z]  # all slices are of one size
        else:
            self.predictor.set_image(to_rgb_uint8(self.volume[z]))
            self.embeddings[z] = self.predictor.features
        return self.predictor.predict(
            point_coords=np.array([point]), point_labels=np.ones(1, int), mask_input=mask_input
        )

    def most_certain_point(self, logits: NDArray[np.floating]) -> Point:
        """Where low-res logits [L, L] are highest, as a point of the slice.

        They cover the square that SAM sees; its padding at right and bottom holds no point.
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


def masklet(
    slices: Slices, z: int, point: Point, max_area: float, min_iou: float
) -> NDArray[np.bool_]:
    """The object under a click on slice z, followed both ways: a mask [Z, H, W], maybe empty.

    On the next slice the click is where the last logits were highest, and the last mask is given
    too. Of SAM's masks the one with the best score is taken, among those that cover less than
    `max_area` of the slice and (but for the first) overlap the last mask by an IoU above `min_iou`;
    without one the object ends.
    """
    found = np.zeros(slices.volume.shape, bool)
    first = _choose(*slices.segment(z, point), None, max_area, min_iou)
    if first is None:
        return found
    found[z] = first[0]
    for step in (-1, 1):
        mask, logits = first
        at = z + step
        while 0 <= at < len(slices):
            given = (logits > 0)[None].astype(np.float32)
            answer = slices.segment(at, slices.most_certain_point(logits), given)
            chosen = _choose(*answer, mask, max_area, min_iou)
            if chosen is None:
                break
            mask, logits = chosen
            found[at] = mask
            at += step
    return found


def matches(
    features: NDArray[np.float32],
    query: Tensor,
    shape: tuple[int, int],
    ratios: Sequence[int],
    similarity: float,
    top_k: int,
) -> list[tuple[int, Point]]:
    """Slice and point of the places whose feature is like a given one, best first.

    Parameters
    ----------
    features
        [Z, D, h, w]: maps that cover the slices edge to edge.
    query
        [D].
    shape
        Of a slice, (H, W).
    ratios
        Pixels between the nodes of each grid, coarse to fine. On all but the last, a node passes if
        its cosine similarity is at least `similarity`, and only nodes below a node that passed are
        looked at on the next. On the last, local maxima are kept, at most `top_k`.
    """
    maps = torch.from_numpy(features)
    passed = None
    for level, ratio in enumerate(ratios):
        size = tuple(max(1, side // ratio) for side in shape)
        cosine = torch.stack([_cosine(each, query, size) for each in maps])  # [Z, gh, gw]
        if passed is not None:
            below = F.interpolate(passed[:, None].float(), size, mode="nearest")[:, 0] > 0
            cosine = cosine.masked_fill(~below, -torch.inf)
        if level < len(ratios) - 1:
            passed = cosine >= similarity
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
    """The mask [Z, H, W] of everything like the object clicked on slice z; how many places match.

    `settings` holds max_area and min_iou of `masklet`, similarity, ratios and top_k of `matches`.
    The mask is empty when SAM gives no acceptable one for the click.
    """
    limits = settings["max_area"], settings["min_iou"]
    found = masklet(slices, z, point, *limits)
    if not found.any():
        return found, 0
    query = centroid_feature(features, found)
    shape = found.shape[1:]
    places = matches(
        features, query, shape, settings["ratios"], settings["similarity"], settings["top_k"]
    )
    for at, where in progress(places, len(places), "matches"):
        found = found | masklet(slices, at, where, *limits)
    return found, len(places)


def centroid_feature(features: NDArray[np.float32], mask: NDArray[np.bool_]) -> Tensor:
    """The feature [D] at the centroid of a mask [Z, H, W], on the nearest slice."""
    z, y, x = np.argwhere(mask).mean(axis=0)
    height, width = mask.shape[1:]
    node = torch.tensor([[[[2 * (x + 0.5) / width - 1, 2 * (y + 0.5) / height - 1]]]])
    return _sampled(torch.from_numpy(features[round(z)]), node.float())[:, 0, 0]


def _choose(
    masks: NDArray[np.bool_],
    scores: NDArray,
    logits: NDArray,
    last: NDArray[np.bool_] | None,
    max_area: float,
    min_iou: float,
) -> tuple[NDArray[np.bool_], NDArray] | None:
    """The acceptable mask with the best score, and its logits."""
    allowed = (scores > 0) & (masks.mean(axis=(1, 2)) < max_area) & masks.any(axis=(1, 2))
    if last is not None:
        union = (masks | last).sum(axis=(1, 2))
        allowed &= (masks & last).sum(axis=(1, 2)) > min_iou * union
    if not allowed.any():
        return None
    best = np.where(allowed, scores, -np.inf).argmax()
    return masks[best], logits[best]


def _cosine(feature_map: Tensor, query: Tensor, size: tuple[int, int]) -> Tensor:
    """Similarity [gh, gw] of a map [D, h, w] to a feature, at the centres of a grid's cells."""
    theta = torch.eye(2, 3)[None]
    nodes = F.affine_grid(theta, [1, 1, *size], align_corners=False)
    return F.cosine_similarity(_sampled(feature_map, nodes), query[:, None, None], dim=0)


def _sampled(feature_map: Tensor, nodes: Tensor) -> Tensor:
    """A map [D, h, w] at nodes [1, gh, gw, 2] in [-1, 1]: [D, gh, gw]."""
    return F.grid_sample(feature_map[None], nodes, padding_mode="border", align_corners=False)[0]
