"""The SSE curve, which shows a suitable number of clusters."""

import pandas as pd
from matplotlib.figure import Figure

from umsam.figures.style import BLUE, COLUMN_WIDTH, GREY, ORANGE, house_style


def sse_figure(curve: pd.DataFrame, knee: int | None, used: int) -> Figure:
    """Draw ``clusters/sse.csv`` (k, sse) with its knee and the number of clusters in use."""
    with house_style():
        figure = Figure(figsize=(COLUMN_WIDTH, 2.4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(curve["k"], curve["sse"], color=BLUE, marker="o", markersize=3, label="SSE")
        marks = [(used, ORANGE, "-", f"in use, K = {used}")]
        if knee == used:
            marks = [(used, ORANGE, "-", f"in use, the knee, K = {used}")]
        elif knee is not None:
            marks.append((knee, GREY, "--", f"knee, K = {knee}"))
        for k, color, dashes, label in marks:
            axes.axvline(k, color=color, linestyle=dashes, linewidth=1, zorder=0, label=label)
        axes.set_xlabel("Number of clusters K")
        axes.set_ylabel("Sum of squared errors")
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="x", integer=True)
        axes.legend(loc="upper right")
    return figure
