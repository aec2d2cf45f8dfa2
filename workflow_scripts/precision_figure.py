"""Fig. 3a: precision of the ROI sets, from tables/precision.csv."""

from umsam.jobs import job

with job(snakemake):
    import pandas as pd

    from umsam.figures.precision import precision_figure
    from umsam.figures.style import save

    figure = precision_figure(pd.read_csv(snakemake.input.table))
    save(figure, snakemake.output, snakemake.params.figures["dpi"])
