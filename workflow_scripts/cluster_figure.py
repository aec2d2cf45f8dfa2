"""Example ROIs of each cluster, with a frame around the target cluster."""

from umsam.jobs import job

with job(snakemake):
    import json
    from functools import lru_cache
    from pathlib import Path

    import pandas as pd

    from umsam.data.masks import read_slice_masks, slice_file
    from umsam.data.volumes import read_volume
    from umsam.evaluation.case_metrics import case_name
    from umsam.figures.clusters import EXAMPLES, Example, cluster_figure, summarise_clusters
    from umsam.figures.style import save_figure

    volume = lru_cache(EXAMPLES)(read_volume)
    volumes = {case_name(path): path for path in snakemake.input.volumes}
    folders = {case_name(path): path for path in snakemake.input.masks}

    def example(row):
        case, z = row["case"], row["slice"]
        masks = read_slice_masks(slice_file(folders[case], z)).masks
        image = volume(volumes[case])
        return Example(image.array[z], masks[row["index"]], image.spacing[1:])

    assignments = pd.read_csv(
        snakemake.input.assignments, dtype={"case": str}, keep_default_na=False, chunksize=200_000
    )
    target = json.loads(Path(snakemake.input.target).read_text())
    figure = cluster_figure(
        *summarise_clusters(assignments),
        target["cluster"],
        target["attribute"],
        target["prior"],
        example,
    )
    save_figure(figure, snakemake.output, snakemake.params.figures["dpi"])
