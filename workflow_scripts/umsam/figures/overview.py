"""The method on one slice: image, SAM's segments, those that pass the priors, label, result."""

from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from umsam.figures.contours import outline, view
from umsam.figures.contours import shown_slice as largest_slice
from umsam.figures.style import PAGE_WIDTH, Style, bare, house_style

Mask = NDArray[np.bool_]
LARGEST_SHARE = 0.5  # of the slice: larger segments would hide the others


@dataclass(frozen=True)
class Stages:
    """What each stage left of one slice; masks are [H, W] or [K, H, W], the image in [0, 1]."""

    image: NDArray[np.floating]
    rois: Mask
    valid: NDArray[np.bool_]
    pseudo_label: Mask
    prediction: Mask
    label: Mask | None
    pixel: tuple[float, float]
    """Pixel size in mm (y, x)."""


def shown_slice(prediction: Mask, pseudo_label: Mask, label: Mask | None) -> int:
    """The slice of a volume [Z, Y, X] with the largest label, else prediction, else pseudo-label.

    With nothing in any of them, the middle slice.
    """
    return largest_slice(_first_found(label, prediction, pseudo_label))


def overview_figure(stages: Stages, style: Style) -> Figure:
    """Five panels of the same slice, in the order of the method; the last two are enlarged."""
    height, width = stages.image.shape
    ratio = height * stages.pixel[0] / (width * stages.pixel[1])
    every = [k for k, mask in enumerate(stages.rois) if mask.mean() <= LARGEST_SHARE]
    passed = [k for k in every if stages.valid[k]]
    with house_style():
        words = 0.3 if stages.label is None else 0.45  # inches: the titles, and the key
        size = (PAGE_WIDTH, PAGE_WIDTH / 5 * ratio + words)
        figure = Figure(figsize=size, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02)
        panels = figure.subplots(1, 5)
        titles = (
            "slice",
            f"everything mode: {len(stages.rois)} ROIs",
            f"shape priors: {int(stages.valid.sum())} ROIs",
            "pseudo-label",
            "prediction",
        )
        for axes, title in zip(panels, titles, strict=True):
            bare(axes)
            axes.set_title(title, fontsize=7)
            axes.imshow(
                stages.image,
                cmap="gray",
                vmin=0,
                vmax=1,
                aspect=stages.pixel[0] / stages.pixel[1],
            )
        fill(panels[1], stages.rois, every)
        fill(panels[2], stages.rois, passed)
        centre = _first_found(stages.label, stages.prediction, stages.pseudo_label)
        rows, columns = view(centre, stages.pixel)
        for axes, found in zip(panels[3:], (stages.pseudo_label, stages.prediction), strict=True):
            if stages.label is not None:
                outline(axes, stages.label, style.label_color)
            outline(axes, found, style.prediction_color)
            axes.set_xlim(columns.start - 0.5, columns.stop - 0.5)
            axes.set_ylim(rows.stop - 0.5, rows.start - 0.5)
        if stages.label is not None:
            drawn = ((style.prediction_color, "found"), (style.label_color, "manual label"))
            figure.legend(
                handles=[Line2D([], [], color=color, label=name) for color, name in drawn],
                loc="outside lower right",
                ncols=2,
                fontsize=6,
            )
    return figure


def _first_found(*masks: Mask | None) -> Mask:
    """The first mask that is there and holds something, else the last."""
    return next((mask for mask in masks if mask is not None and mask.any()), masks[-1])


def fill(axes: Axes, masks: Mask, chosen: list[int], opacity: float = 0.55) -> None:
    """Paint the chosen masks [K, H, W] in changing colours, the largest first."""
    layer = np.zeros((*masks.shape[1:], 4))
    for k in sorted(chosen, key=lambda k: -np.count_nonzero(masks[k])):
        layer[masks[k]] = (*colormaps["tab20"](k % 20)[:3], opacity)
    axes.imshow(layer, aspect=axes.get_aspect())
