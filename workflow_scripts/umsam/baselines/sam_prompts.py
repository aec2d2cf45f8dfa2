"""SAM with a prompt on every slice that holds the object (three rows of Table 1).

Kirillov et al., "Segment Anything", 2023. One mask a prompt (multimask off); the prompts are
simulated from the label, and slices without the object are not looked at.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from umsam.baselines.prompts import background_point, foreground_point, scaled_box
from umsam.data.intensity import to_rgb_uint8


class Predictor(Protocol):
    """What is used of ``segment_anything.SamPredictor``."""

    def set_image(self, image: NDArray[np.uint8]) -> None: ...

    def predict(self, **prompt: Any) -> tuple[NDArray, NDArray, NDArray]: ...


def segment(predictor: Predictor, image: NDArray[np.uint8], **prompt: Any) -> NDArray[np.bool_]:
    """SAM's single mask [H, W] of an image [H, W, 3] for one prompt, in the predictor's terms."""
    predictor.set_image(image)
    masks, _, _ = predictor.predict(multimask_output=False, **prompt)
    return masks[0]


def segment_with_points(
    predictor: Predictor,
    volume: NDArray[np.floating],
    label: NDArray[np.bool_],
    seed: int,
) -> NDArray[np.bool_]:
    """A mask [Z, H, W] from one foreground and one background click a slice.

    Parameters
    ----------
    volume
        [Z, H, W], intensities in [0, 1].
    label
        [Z, H, W]: where the clicks come from.
    seed
        Of the background clicks; each slice has its own, whichever other slices there are.
    """
    found = np.zeros(label.shape, bool)
    for z in _slices(label):
        points = [foreground_point(label[z]), background_point(label[z], seed + int(z))]
        coordinates = [point for point in points if point is not None]
        found[z] = segment(
            predictor,
            to_rgb_uint8(volume[z]),
            point_coords=np.array(coordinates),
            point_labels=np.array([1, 0][: len(coordinates)]),
        )
    return found


def segment_with_boxes(
    predictor: Predictor,
    volume: NDArray[np.floating],
    label: NDArray[np.bool_],
    scale: float,
) -> NDArray[np.bool_]:
    """A mask [Z, H, W] from a box a slice, the label's box enlarged by `scale`."""
    found = np.zeros(label.shape, bool)
    for z in _slices(label):
        box = np.array(scaled_box(label[z], scale))
        found[z] = segment(predictor, to_rgb_uint8(volume[z]), box=box)
    return found


def _slices(label: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The slices that hold the object."""
    return np.flatnonzero(label.any(axis=(1, 2)))
