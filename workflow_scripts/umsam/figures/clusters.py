"""Example ROIs of each cluster, with a frame around the target cluster."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from umsam.figures.contours import crop_window, draw_outline
from umsam.figures.style import BLUE, ORANGE, PAGE_WIDTH, hide_axes, house_style

EXAMPLES = 8  # ROIs per row
UNITS = {"aspect_ratio": ("aspect ratio", "", 2), "area_mm2": ("area", " mm²", 0)}


@dataclass(frozen=True)
class Example:
    """One ROI: its slice [H, W] in [0, 1], its mask, and the pixel size in mm (y, x)."""

    image: NDArray[np.floating]
    mask: NDArray[np.bool_]
    spacing: tuple[float, float]


def select_examples(assignments: pd.DataFrame, count: int = EXAMPLES) -> pd.DataFrame:
    """Select the training ROIs nearest to each centroid, one per slice, alternating the cases.

    The alternation shows whether a cluster belongs to one case or to all.

    Parameters
    ----------
    assignments
        Rows of ``clusters/assignments.csv``.
    count
        Largest number of ROIs per cluster.
    """
    candidates = _nearest_of_each_case(assignments, count)
    turn = candidates.groupby(["cluster", "case"]).cumcount()
    ordered = candidates.assign(turn=turn).sort_values(["cluster", "turn", "distance"])
    return ordered.groupby("cluster").head(count).drop(columns="turn").reset_index(drop=True)


def summarise_clusters(
    tables: Iterable[pd.DataFrame], count: int = EXAMPLES
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Summarise ``clusters/assignments.csv`` for `cluster_figure`.

    The memory grows with the number of cases, not with the number of ROIs.

    Parameters
    ----------
    tables
        The rows of the file, in parts of any size.
    count
        Largest number of examples per cluster.

    Returns
    -------
    statistics, examples
        Count of the training ROIs and mean of their attribute by cluster, and the rows of
        `select_examples`.
    """
    totals, candidates = pd.DataFrame(), pd.DataFrame()
    for table in tables:
        training = table[table["split"] == "train"]
        part = training.groupby("cluster")["attribute"].agg(["count", "sum"])
        totals = totals.add(part, fill_value=0) if len(totals) else part
        candidates = _nearest_of_each_case(pd.concat([candidates, training]), count)
    statistics = totals.assign(mean=totals["sum"] / totals["count"])[["count", "mean"]]
    return statistics, select_examples(candidates, count)


def _nearest_of_each_case(assignments: pd.DataFrame, count: int) -> pd.DataFrame:
    """Select the `count` nearest training ROIs of each cluster and case, one per slice.

    No other ROI can become an example, whichever rows follow.
    """
    training = assignments[assignments["split"] == "train"].sort_values(
        ["cluster", "distance", "case", "slice", "index"]
    )
    training = training.drop_duplicates(["cluster", "case", "slice"])
    return training.groupby(["cluster", "case"]).head(count)


def describe_cluster(cluster: int, count: int, mean: float, attribute: str) -> str:
    """Return "cluster 3", "124 ROIs" and "aspect ratio 1.05" on three lines."""
    name, unit, digits = UNITS[attribute]
    return f"cluster {cluster}\n{count:,} ROIs\n{name} {mean:.{digits}f}{unit}"


def cluster_figure(
    statistics: pd.DataFrame,
    examples: pd.DataFrame,
    target: int,
    attribute: str,
    prior: float,
    read_example: Callable[[Mapping], Example],
) -> Figure:
    """Draw a row per cluster: the ROIs nearest to its centroid, and its mean attribute.

    Parameters
    ----------
    statistics, examples
        From `summarise_clusters`.
    target
        The target cluster, which gets a frame.
    attribute, prior
        The attribute of the target and its prior.
    read_example
        Reads the picture of a row of `examples`.
    """
    clusters: Sequence[int] = sorted(statistics.index)
    side = (PAGE_WIDTH - 1.3) / EXAMPLES
    name, unit, _ = UNITS[attribute]
    with house_style():
        height = side * len(clusters) + 0.35
        figure = Figure(figsize=(PAGE_WIDTH, height))
        grid = figure.subplots(
            len(clusters),
            EXAMPLES,
            squeeze=False,
            gridspec_kw={
                "left": 1.25 / PAGE_WIDTH,
                "right": 1 - 0.05 / PAGE_WIDTH,
                "top": 1 - 0.3 / height,
                "bottom": 0.05 / height,
                "wspace": 0.06,
                "hspace": 0.06,
            },
        )
        figure.suptitle(
            f"ROIs nearest to each centroid; framed: target cluster, prior {name} {prior:g}{unit}",
            y=1 - 0.06 / height,
            va="top",
            fontsize=8,
        )
        for line, cluster in zip(grid, clusters, strict=True):
            color = ORANGE if cluster == target else BLUE
            for axes in line:
                hide_axes(axes)
            rows = examples[examples["cluster"] == cluster].to_dict("records")
            for axes, row in zip(line, rows, strict=False):
                draw_roi(axes, read_example(row), color)
            count, mean = statistics.loc[cluster, ["count", "mean"]]
            text = describe_cluster(cluster, int(count), mean, attribute)
            write_row_label(line[0], text, highlight=cluster == target)
            if cluster == target:
                draw_frame(figure, line)
    return figure


def write_row_label(axes: Axes, text: str, highlight: bool) -> None:
    """Write the label of a row to the left of its first axes."""
    axes.annotate(
        text,
        (0, 0.5),
        xytext=(-6, 0),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="center",
        color=ORANGE if highlight else "black",
        fontweight="bold" if highlight else "normal",
    )


def draw_roi(axes: Axes, roi: Example, color: str) -> None:
    """Draw the outline of an ROI and its surroundings."""
    window = crop_window(roi.mask, roi.spacing)
    crop = roi.image[window]
    aspect = roi.spacing[0] / roi.spacing[1]
    axes.imshow(crop, cmap="gray", vmin=0, vmax=1, aspect=aspect)
    draw_outline(axes, roi.mask[window], color)
    axes.set_xlim(-0.5, crop.shape[1] - 0.5)
    axes.set_ylim(crop.shape[0] - 0.5, -0.5)


def draw_frame(figure: Figure, line: Sequence) -> None:
    """Draw a coloured rectangle around a row of axes."""
    first, last = line[0].get_position(), line[-1].get_position()
    pad = 0.02
    width, height = figure.get_size_inches()
    figure.add_artist(
        Rectangle(
            (first.x0 - pad / width, first.y0 - pad / height),
            last.x1 - first.x0 + 2 * pad / width,
            first.height + 2 * pad / height,
            fill=False,
            edgecolor=ORANGE,
            linewidth=1.6,
        )
    )
