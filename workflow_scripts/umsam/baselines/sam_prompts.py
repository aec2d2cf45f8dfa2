"""SAM with a prompt on every slice that contains the target (three rows of Table 1).

Kirillov et al., "Segment Anything", 2023, with one mask per prompt (multimask off). The prompts are
simulated from the label; slices without the target stay empty.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from umsam.baselines.prompts import background_point, foreground_point, scaled_box
from umsam.data.intensity import to_rgb_uint8


class Predictor(Protocol):
    """The part of ``segment_anything.SamPredictor`` that the methods use."""

    def set_image(self, image: NDArray[np.uint8]) -> None: ...

    def predict(self, **prompt: Any) -> tuple[NDArray, NDArray, NDArray]: ...


def segment(predictor: Predictor, image: NDArray[np.uint8], **prompt: Any) -> NDArray[np.bool_]:
    """SAM's single mask [H, W] of an image [H, W, 3]; `prompt` as in ``SamPredictor.predict``."""
    predictor.set_image(image)
    masks, _, _ = predictor.predict(multimask_output=False, **prompt)
    return masks[0]


def segment_with_points(
    predictor: Predictor,
    volume: NDArray[np.floating],
    label: NDArray[np.bool_],
    seed: int,
) -> NDArray[np.bool_]:
    """A mask [Z, H, W] from one foreground and one background click per slice.

    Parameters
    ----------
    predictor
        SAM.
    volume
        [Z, H, W], intensities in [0, 1].
    label
        [Z, H, W], from which the clicks are simulated.
    seed
        Seed of the background clicks; a slice's click does not depend on the other slices.
    """
    mask = np.zeros(label.shape, bool)
    for z in _positive_slices(label):
        points = [foreground_point(label[z]), background_point(label[z], seed + int(z))]
        coordinates = [point for point in points if point is not None]
        mask[z] = segment(
            predictor,
            to_rgb_uint8(volume[z]),
            point_coords=np.array(coordinates),
            point_labels=np.array([1, 0][: len(coordinates)]),
        )
    return mask


def segment_with_boxes(
    predictor: Predictor,
    volume: NDArray[np.floating],
    label: NDArray[np.bool_],
    scale: float,
) -> NDArray[np.bool_]:
    """A mask [Z, H, W] from one box per slice, the label's box scaled by `scale`."""
    mask = np.zeros(label.shape, bool)
    for z in _positive_slices(label):
        box = np.array(scaled_box(label[z], scale))
        mask[z] = segment(predictor, to_rgb_uint8(volume[z]), box=box)
    return mask


def _positive_slices(label: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The slices that contain the target."""
    return np.flatnonzero(label.any(axis=(1, 2)))
