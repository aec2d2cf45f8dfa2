"""One look for every figure, and files that are the same bytes for the same content."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from umsam.files import atomic_write

COLUMN_WIDTH = 3.4  # inches: one column of a paper
PAGE_WIDTH = 6.9  # both columns

# Okabe and Ito's palette, told apart with any colour vision.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
GREY, INK, PALE = "#8A8A8A", "#222222", "#C9D6E2"

SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same text on every machine
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
    "pdf.fonttype": 42,  # text stays text
}


@dataclass(frozen=True)
class Style:
    """The ``figures`` section of the configuration.

    dpi: of the PNG; cases: rows of Fig. 2 at most; label_color, prediction_color: the contours
    (told apart with any colour vision, on grey images).
    """

    dpi: int = 200
    cases: int = 3
    label_color: str = "#D55E00"
    prediction_color: str = "#56B4E9"


@contextmanager
def house_style() -> Iterator[None]:
    """Draw with `SETTINGS`, whatever matplotlib was set to before and will be after."""
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, "backend": "agg", **SETTINGS}):
        yield


def save(figure: Figure, files: Sequence[str], dpi: int) -> None:
    """Write the figure as each of the files (type by suffix), without dates."""
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every glyph of a PDF
    for file in files:
        metadata = {"CreationDate": None} if file.endswith(".pdf") else {}
        with atomic_write(file) as path, house_style():
            figure.savefig(path, dpi=dpi, metadata=metadata)


def bare(axes: Axes) -> None:
    """No ticks and no frame: a picture's axes."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
