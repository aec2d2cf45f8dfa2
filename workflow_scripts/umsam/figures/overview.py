"""The method on one slice: image, ROIs of SAM, valid ROIs, pseudo-label and prediction."""

from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from umsam.figures.contours import crop_window, draw_outline, largest_slice
from umsam.figures.style import PAGE_WIDTH, Style, hide_axes, house_style

Mask = NDArray[np.bool_]
MAX_FRACTION = 0.5  # of the slice; larger ROIs would hide the others


@dataclass(frozen=True)
class Stages:
    """The output of each stage on one slice.

    Attributes
    ----------
    image
        Intensities in [0, 1], [H, W].
    rois
        The ROIs of everything mode, [K, H, W].
    valid
        Whether each ROI passes the shape priors, [K].
    pseudo_label, prediction, label
        Masks [H, W]; the label may be missing.
    pixel
        Pixel size in mm (y, x).
    """

    image: NDArray[np.floating]
    rois: Mask
    valid: NDArray[np.bool_]
    pseudo_label: Mask
    prediction: Mask
    label: Mask | None
    pixel: tuple[float, float]


def select_slice(prediction: Mask, pseudo_label: Mask, label: Mask | None) -> int:
    """Return the slice with the largest label, or else prediction, or else pseudo-label.

    If all of these volumes [Z, Y, X] are empty, it is the middle slice.
    """
    return largest_slice(_first_not_empty(label, prediction, pseudo_label))


def overview_figure(stages: Stages, style: Style) -> Figure:
    """Draw five panels of the same slice in the order of the method; the last two are enlarged."""
    height, width = stages.image.shape
    ratio = height * stages.pixel[0] / (width * stages.pixel[1])
    shown = [k for k, mask in enumerate(stages.rois) if mask.mean() <= MAX_FRACTION]
    shown_valid = [k for k in shown if stages.valid[k]]
    with house_style():
        text_height = 0.3 if stages.label is None else 0.45  # inches, for titles and legend
        size = (PAGE_WIDTH, PAGE_WIDTH / 5 * ratio + text_height)
        layout = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.02)
        figure = Figure(figsize=size, layout=layout)
        panels = figure.subplots(1, 5)
        titles = (
            "slice",
            f"everything mode: {len(stages.rois)} ROIs",
            f"shape priors: {int(stages.valid.sum())} ROIs",
            "pseudo-label",
            "prediction",
        )
        for axes, title in zip(panels, titles, strict=True):
            hide_axes(axes)
            axes.set_title(title, fontsize=7)
            axes.imshow(
                stages.image,
                cmap="gray",
                vmin=0,
                vmax=1,
                aspect=stages.pixel[0] / stages.pixel[1],
            )
        paint_masks(panels[1], stages.rois, shown)
        paint_masks(panels[2], stages.rois, shown_valid)
        reference = _first_not_empty(stages.label, stages.prediction, stages.pseudo_label)
        rows, columns = crop_window(reference, stages.pixel)
        for axes, mask in zip(panels[3:], (stages.pseudo_label, stages.prediction), strict=True):
            if stages.label is not None:
                draw_outline(axes, stages.label, style.label_color)
            draw_outline(axes, mask, style.prediction_color)
            axes.set_xlim(columns.start - 0.5, columns.stop - 0.5)
            axes.set_ylim(rows.stop - 0.5, rows.start - 0.5)
        if stages.label is not None:
            contours = ((style.prediction_color, "found"), (style.label_color, "manual label"))
            figure.legend(
                handles=[Line2D([], [], color=color, label=name) for color, name in contours],
                loc="outside lower right",
                ncols=2,
                fontsize=6,
            )
    return figure


def _first_not_empty(label: Mask | None, prediction: Mask, pseudo_label: Mask) -> Mask:
    """Return the first mask that is not empty, or else the last."""
    if label is not None and label.any():
        return label
    return prediction if prediction.any() else pseudo_label


def paint_masks(axes: Axes, masks: Mask, chosen: list[int], opacity: float = 0.55) -> None:
    """Paint the chosen masks [K, H, W] in different colours, the largest first."""
    layer = np.zeros((*masks.shape[1:], 4))
    for k in sorted(chosen, key=lambda k: -np.count_nonzero(masks[k])):
        layer[masks[k]] = (*colormaps["tab20"](k % 20)[:3], opacity)
    axes.imshow(layer, aspect=axes.get_aspect())
