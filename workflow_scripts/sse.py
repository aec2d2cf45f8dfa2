"""The SSE curve over K on the valid ROIs of the training volumes."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import pandas as pd

    from umsam.errors import InputError
    from umsam.files import whole
    from umsam.pseudo_labels.clustering import knee, prepared, read_roi_features, sse_curve
    from umsam.pseudo_labels.shape_priors import read_rois, rejections

    settings, cases = snakemake.params.clustering, snakemake.params.cases
    rois, features = read_roi_features(cases, snakemake.input.features)
    if rois.empty:
        all_rois = pd.concat([read_rois(path) for path in snakemake.input.rois], ignore_index=True)
        raise InputError(
            f"{snakemake.wildcards.dataset}: none of the {len(all_rois)} ROIs of {len(cases)} "
            f"training volume(s) is valid, so there is nothing to cluster: {rejections(all_rois)}."
        )
    first, last = settings["sse_k"]
    features = prepared(features, settings["l2_normalise"])
    curve = sse_curve(features, first, last, settings["n_init"], settings["seed"])
    with whole(snakemake.output.curve) as path:
        curve.to_csv(path, index=False)
    logging.info("%d ROIs; the knee of the curve is at K = %d", len(rois), knee(curve))
