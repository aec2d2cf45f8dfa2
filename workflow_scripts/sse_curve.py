"""The SSE curve over K of the valid ROIs of the training volumes."""

from umsam.jobs import job

with job(snakemake):
    import logging

    from umsam.files import atomic_write
    from umsam.pseudo_labels.assignments import roi_files, training_features
    from umsam.pseudo_labels.clustering import sse_curve
    from umsam.pseudo_labels.knee import knee
    from umsam.pseudo_labels.streamed_kmeans import sample

    inputs, settings = snakemake.input, snakemake.params.clustering
    files = roi_files(snakemake.params.cases, inputs.features, inputs.rois)
    _, features = training_features(files, settings["space"])
    drawn, count = sample(features, settings["sse_rois"], settings["seed"])
    first, last = settings["sse_k"]
    curve = sse_curve(drawn, first, last, settings["n_init"], settings["seed"], snakemake.threads)
    curve["sse"] *= count / len(drawn)
    with atomic_write(snakemake.output.curve) as path:
        curve.to_csv(path, index=False)
    logging.info(
        "%d of %d ROIs; the knee of the curve is at K = %d", len(drawn), count, knee(curve)
    )
