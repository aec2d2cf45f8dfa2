"""Fig. 3b: what each distillation loss adds, from tables/ablation.csv."""

from umsam.jobs import job

with job(snakemake):
    import pandas as pd

    from umsam.figures.ablation import ablation_figure
    from umsam.figures.style import save

    figure = ablation_figure(pd.read_csv(snakemake.input.table))
    save(figure, snakemake.output, snakemake.params.figures["dpi"])
