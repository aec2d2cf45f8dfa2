"""The SSE curve with its knee and the number of clusters in use."""

from umsam.jobs import job

with job(snakemake):
    import json
    from pathlib import Path

    import pandas as pd

    from umsam.figures.sse import sse_figure
    from umsam.figures.style import save_figure
    from umsam.pseudo_labels.knee import knee

    curve = pd.read_csv(snakemake.input.curve)
    k = json.loads(Path(snakemake.input.target).read_text())["k"]
    figure = sse_figure(curve, knee(curve), k)
    save_figure(figure, snakemake.output, snakemake.params.figures["dpi"])
