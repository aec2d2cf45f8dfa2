"""The cluster of every valid ROI of all cases."""

from umsam.jobs import job

with job(snakemake):
    import logging

    from umsam.files import atomic_write
    from umsam.pseudo_labels.assignments import assign_rois, roi_files
    from umsam.pseudo_labels.feature_space import read_kmeans

    inputs, params = snakemake.input, snakemake.params
    files = roi_files(params.cases, inputs.features, inputs.rois)
    splits = dict(zip(params.cases, params.splits, strict=True))
    centroids, space = read_kmeans(inputs.kmeans)
    count = 0
    with atomic_write(snakemake.output.assignments) as path, path.open("w", newline="") as stream:
        for table in assign_rois(files, centroids, space, params.attribute, splits):
            table.to_csv(stream, index=False, header=not stream.tell())
            count += len(table)
    logging.info("%d ROIs of %d cases", count, len(files))
