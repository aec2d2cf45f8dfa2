"""The SSE curve with its knee and the number of clusters in use."""

from umsam.jobs import job

with job(snakemake):
    import json
    from pathlib import Path

    import pandas as pd

    from umsam.figures.sse import sse_figure
    from umsam.figures.style import save

    target = json.loads(Path(snakemake.input.target).read_text())
    figure = sse_figure(pd.read_csv(snakemake.input.curve), target["knee"], target["k"])
    save(figure, snakemake.output, snakemake.params.figures["dpi"])
