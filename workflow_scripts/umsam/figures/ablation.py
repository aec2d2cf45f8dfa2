"""Fig. 3b: the contribution of each distillation loss."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from umsam.evaluation.ablation import ablation_summary
from umsam.figures.style import COLUMN_WIDTH, GREY, INK, ORANGE, PALE, house_style

TICKS = {
    "none": "no\ntraining",
    "plkd": r"$\mathcal{L}_{plkd}$",
    "plkd_cfkd": r"$\mathcal{L}_{plkd}$" "\n" r"$+\,\mathcal{L}_{cfkd}$",
    "plkd_cckd": r"$\mathcal{L}_{plkd}$" "\n" r"$+\,\mathcal{L}_{cckd}$",
    "triple": "all\nthree",
}
COLORS = {"none": GREY, "triple": ORANGE}
HALF_WIDTH = 0.18  # of the range over which the points of a bar are spread


def ablation_figure(table: pd.DataFrame) -> Figure:
    """Draw a bar per variant of ``tables/ablation.csv``: mean DSC (%), deviation, and volumes."""
    summary = ablation_summary(table)
    with house_style():
        figure = Figure(figsize=(COLUMN_WIDTH, 2.5), layout="constrained")
        axes = figure.add_subplot()
        for x, row in enumerate(summary.to_dict("records")):
            variant, mean = row["variant"], 100 * row["dsc_mean"]
            values = 100 * table.loc[table["variant"] == variant, "dsc"].to_numpy()
            axes.bar(x, mean, width=0.62, color=COLORS.get(variant, PALE), label=variant)
            axes.errorbar(
                x, mean, 100 * row["dsc_std"], color=INK, linewidth=0.8, capsize=2.5, capthick=0.8
            )
            offsets = np.zeros(1)
            if len(values) > 1:
                offsets = np.linspace(-HALF_WIDTH, HALF_WIDTH, len(values))
            axes.scatter(x + offsets, values, s=6, color=INK, alpha=0.55, linewidth=0)
            axes.annotate(
                f"{mean:.1f}",
                (x, max(values.max(), mean + 100 * row["dsc_std"])),
                xytext=(0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=7,
            )
        axes.set_xticks(range(len(summary)), [TICKS[name] for name in summary["variant"]])
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel("DSC (%), validation volumes")
        axes.set_ylim(0, max(100, axes.get_ylim()[1]))
        axes.set_yticks(range(0, 101, 20))
    return figure
