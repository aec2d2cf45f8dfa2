"""The SSE curve over K on the valid ROIs of the training volumes."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import pandas as pd

    from umsam.errors import InputError
    from umsam.files import whole
    from umsam.pseudo_labels.assignments import training_features
    from umsam.pseudo_labels.clustering import knee, sse_curve
    from umsam.pseudo_labels.shape_priors import read_rois, rejections
    from umsam.pseudo_labels.streamed_kmeans import sample

    settings, cases = snakemake.params.clustering, snakemake.params.cases
    _, features = training_features(cases, snakemake.input.features, settings["space"])
    drawn, count = sample(features, settings["sse_rois"], settings["seed"])
    if not count:
        all_rois = pd.concat([read_rois(path) for path in snakemake.input.rois], ignore_index=True)
        raise InputError(
            f"{snakemake.wildcards.dataset}: none of the {len(all_rois)} ROIs of {len(cases)} "
            f"training volume(s) is valid, so there is nothing to cluster: {rejections(all_rois)}."
        )
    first, last = settings["sse_k"]
    curve = sse_curve(drawn, first, last, settings["n_init"], settings["seed"], snakemake.threads)
    curve["sse"] *= count / len(drawn)
    with whole(snakemake.output.curve) as path:
        curve.to_csv(path, index=False)
    logging.info(
        "%d of %d ROIs; the knee of the curve is at K = %d", len(drawn), count, knee(curve)
    )
