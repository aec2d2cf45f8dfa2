"""The cluster of every valid ROI of all cases, written case by case."""

from umsam.jobs import job

with job(snakemake):
    import json
    import logging
    from pathlib import Path

    from umsam.files import atomic_write
    from umsam.pseudo_labels.assignments import assignments
    from umsam.pseudo_labels.feature_space import read_kmeans

    attribute = json.loads(Path(snakemake.input.target).read_text())["attribute"]
    centroids, space = read_kmeans(snakemake.input.kmeans)
    params, files = snakemake.params, snakemake.input.features
    tables = assignments(params.cases, params.splits, files, centroids, attribute, space)
    count = 0
    with atomic_write(snakemake.output.assignments) as path, path.open("w", newline="") as stream:
        for table in tables:
            table.to_csv(stream, index=False, header=not stream.tell())
            count += len(table)
    logging.info("%d ROIs of %d cases", count, len(files))
