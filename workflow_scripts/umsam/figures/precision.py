"""Fig. 3a: precision of the three sets of ROIs against the IoU threshold."""

import pandas as pd
from matplotlib.figure import Figure

from umsam.figures.style import BLUE, COLUMN_WIDTH, GREY, ORANGE, house_style

LINES = {  # set: (label, colour, marker)
    "omega_0": (r"$\Omega_0$, every ROI", GREY, "o"),
    "valid": (r"$\Omega_v$, shape priors", BLUE, "s"),
    "target": (r"$\mathcal{D}_p$, target cluster", ORANGE, "D"),
}


def precision_figure(table: pd.DataFrame) -> Figure:
    """Draw a line per set of ``tables/precision.csv`` (set, threshold, precision, n_rois)."""
    with house_style():
        figure = Figure(figsize=(COLUMN_WIDTH, 2.7), layout="constrained")
        axes = figure.add_subplot()
        for name, group in table.groupby("set", sort=False):
            label, color, marker = LINES[str(name)]
            axes.plot(
                group["threshold"],
                group["precision"],
                color=color,
                marker=marker,
                markersize=4,
                clip_on=False,
                zorder=3,
                label=f"{label} (n = {group['n_rois'].iloc[0]:,})",
            )
        axes.set_xlabel("IoU threshold T")
        axes.set_ylabel("Precision")
        axes.set_ylim(0, 1)
        axes.set_xticks(sorted(table["threshold"].unique()))
        axes.grid(axis="y", linewidth=0.4, color="#DDDDDD")
        figure.legend(loc="outside upper center", ncols=1, handlelength=1.8, labelspacing=0.3)
    return figure
