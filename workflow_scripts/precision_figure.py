"""Draw Fig. 3a, the precision of the ROI sets, from tables/precision.csv."""

from umsam.jobs import job

with job(snakemake):
    import pandas as pd

    from umsam.figures.precision import precision_figure
    from umsam.figures.style import save_figure

    figure = precision_figure(pd.read_csv(snakemake.input.table))
    save_figure(figure, snakemake.output, snakemake.params.figures["dpi"])
