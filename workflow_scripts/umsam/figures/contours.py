"""Fig. 2: contours of the label and of each method's prediction on one slice per case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from skimage.measure import find_contours

from umsam.evaluation.dice import dice
from umsam.figures.style import PAGE_WIDTH, Style, hide_axes, house_style

Mask = NDArray[np.bool_]
REFERENCE = "Ours"
MARGIN = 0.6  # on each side, as a fraction of the target's longer side
MIN_SIDE_MM = 40.0  # shows the surroundings of a small target


@dataclass(frozen=True)
class Case:
    """The content of a row: a volume [Z, Y, X] in [0, 1], its voxel size in mm, and its masks."""

    name: str
    volume: NDArray[np.floating]
    spacing: tuple[float, float, float]
    label: Mask | None
    predictions: Mapping[str, Mask] = field(default_factory=dict)


def reference_mask(case: Case) -> Mask:
    """Return the mask at the centre of a row: the label, or else the prediction of `REFERENCE`."""
    if case.label is not None:
        return case.label
    return case.predictions.get(REFERENCE, np.zeros(case.volume.shape, bool))


def largest_slice(mask: Mask) -> int:
    """Return the slice on which a mask [Z, Y, X] is largest, or the middle one if it is empty."""
    areas = np.count_nonzero(mask, axis=(1, 2))
    return int(np.argmax(areas)) if areas.any() else len(mask) // 2


def crop_window(mask: Mask, spacing: Sequence[float]) -> tuple[slice, slice]:
    """Return the rows and columns of a square in mm around a mask, inside the image.

    Parameters
    ----------
    mask
        [H, W]; an empty mask gives the whole slice.
    spacing
        Pixel size in mm (y, x).
    """
    if not mask.any():
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    extents = []
    for axis in (0, 1):
        inside = np.flatnonzero(mask.any(axis=1 - axis))
        extents.append((inside[0], inside[-1] + 1))
    longer = max(
        (stop - start) * step for (start, stop), step in zip(extents, spacing, strict=True)
    )
    side = max(longer * (1 + 2 * MARGIN), MIN_SIDE_MM)
    window = []
    for (start, stop), step, size in zip(extents, spacing, mask.shape, strict=True):
        length = min(size, round(side / step))
        first = round((start + stop - length) / 2)
        first = min(max(first, 0), size - length)
        window.append(slice(first, first + length))
    return window[0], window[1]


def draw_outline(axes: Axes, mask: Mask, color: str, width: float = 1.1) -> None:
    """Draw the border of a mask [H, W] in pixel coordinates, closed at the edge of the image."""
    for points in find_contours(np.pad(mask.astype(float), 1), 0.5):
        axes.plot(points[:, 1] - 1, points[:, 0] - 1, color=color, linewidth=width)


def contour_figure(cases: Sequence[Case], columns: Sequence[str], style: Style) -> Figure:
    """Draw a row per case: the image, and a column per method of `columns`.

    The number in a corner is the DSC of the whole volume. A case without a label shows the slice
    on which the prediction of `REFERENCE` is largest.
    """
    with house_style():
        width = PAGE_WIDTH / 5 * (1 + len(columns))
        side = width / (1 + len(columns))
        layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
        figure = Figure(figsize=(width, side * len(cases) + 0.5), layout=layout)
        grid = figure.subplots(len(cases), 1 + len(columns), squeeze=False)
        for axes, title in zip(grid[0], ["Image", *columns], strict=True):
            axes.set_title(title)
        for line, case in zip(grid, cases, strict=True):
            draw_row(line, case, columns, style)
        figure.legend(
            handles=[
                Line2D([], [], color=style.label_color, label="label"),
                Line2D([], [], color=style.prediction_color, label="prediction"),
            ],
            loc="outside lower center",
            ncols=2,
        )
    return figure


def draw_row(line: Sequence[Axes], case: Case, columns: Sequence[str], style: Style) -> None:
    """Draw one row."""
    reference = reference_mask(case)
    z = largest_slice(reference)
    window_rows, window_columns = crop_window(reference[z], case.spacing[1:])
    line[0].set_ylabel(f"{case.name}, slice {z}")
    for axes, method in zip(line, [None, *columns], strict=True):
        hide_axes(axes)
        aspect = case.spacing[1] / case.spacing[2]
        axes.imshow(case.volume[z], cmap="gray", vmin=0, vmax=1, aspect=aspect)
        prediction = case.predictions.get(method) if method else None
        if case.label is not None and method:
            draw_outline(axes, case.label[z], style.label_color)
        if prediction is not None:
            draw_outline(axes, prediction[z], style.prediction_color)
            if case.label is not None:
                write_in_corner(axes, f"{100 * dice(prediction, case.label):.1f}")
        elif method:
            write_in_corner(axes, "needs a label" if case.label is None else "not run")
        axes.set_xlim(window_columns.start - 0.5, window_columns.stop - 0.5)
        axes.set_ylim(window_rows.stop - 0.5, window_rows.start - 0.5)


def write_in_corner(axes: Axes, text: str) -> None:
    """Write white text with a dark border, legible on any image."""
    axes.text(
        0.97,
        0.03,
        text,
        transform=axes.transAxes,
        ha="right",
        va="bottom",
        color="white",
        path_effects=[withStroke(linewidth=1.6, foreground="black")],
    )
