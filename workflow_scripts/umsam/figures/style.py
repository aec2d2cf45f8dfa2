"""A common style for all figures, and reproducible figure files."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from umsam.files import atomic_write

COLUMN_WIDTH = 3.4  # inches: one column of a paper
PAGE_WIDTH = 6.9  # both columns

# Okabe and Ito's palette, distinguishable with any colour vision.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
GREY, INK, PALE = "#8A8A8A", "#222222", "#C9D6E2"

SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: identical on all machines
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # keep text as text
}


@dataclass(frozen=True)
class Style:
    """The ``figures`` section of the configuration.

    Attributes
    ----------
    dpi
        Resolution of the PNG files.
    cases
        Largest number of rows of Fig. 2.
    label_color, prediction_color
        Colours of the contours. The defaults are distinguishable with any colour vision.
    """

    dpi: int = 200
    cases: int = 3
    label_color: str = "#D55E00"
    prediction_color: str = "#56B4E9"


@contextmanager
def house_style() -> Iterator[None]:
    """Draw with matplotlib's defaults and `SETTINGS`, and restore the previous settings."""
    settings: dict[Any, Any] = dict(matplotlib.rcParamsDefault)
    settings.update({"backend": "agg", **SETTINGS})
    with matplotlib.rc_context(settings):
        yield


def save_figure(figure: Figure, files: Sequence[str], dpi: int) -> None:
    """Write the figure to each of the files, in the format of its suffix and without dates."""
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it logs every glyph of a PDF
    for file in files:
        metadata = {"CreationDate": None} if file.endswith(".pdf") else {}
        with atomic_write(file) as path, house_style():
            figure.savefig(path, dpi=dpi, metadata=metadata)


def hide_axes(axes: Axes) -> None:
    """Hide ticks and frame, for a picture."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
