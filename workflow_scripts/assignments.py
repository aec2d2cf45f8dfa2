"""The cluster of every valid ROI of all cases, written case by case."""

from umsam.jobs import job

with job(snakemake):
    import json
    import logging
    from pathlib import Path

    import numpy as np

    from umsam.files import whole
    from umsam.pseudo_labels.assignments import assignments

    attribute = json.loads(Path(snakemake.input.target).read_text())["attribute"]
    with np.load(snakemake.input.kmeans, allow_pickle=False) as file:
        centroids = file["centroids"]
    params, files = snakemake.params, snakemake.input.features
    tables = assignments(
        params.cases, params.splits, files, centroids, attribute, params.l2_normalise
    )
    count = 0
    with whole(snakemake.output.assignments) as path, path.open("w", newline="") as stream:
        for table in tables:
            table.to_csv(stream, index=False, header=not stream.tell())
            count += len(table)
    logging.info("%d ROIs of %d cases", count, len(files))
