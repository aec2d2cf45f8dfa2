"""Draw Fig. 3b, the contribution of each distillation loss, from tables/ablation.csv."""

from umsam.jobs import job

with job(snakemake):
    import pandas as pd

    from umsam.figures.ablation import ablation_figure
    from umsam.figures.style import save_figure

    figure = ablation_figure(pd.read_csv(snakemake.input.table))
    save_figure(figure, snakemake.output, snakemake.params.figures["dpi"])
