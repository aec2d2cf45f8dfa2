"""The SSE curve over K on the valid ROIs of the training volumes."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import pandas as pd

    from umsam.data.volumes import orientation, turned_against_each_other
    from umsam.errors import InputError
    from umsam.files import atomic_write
    from umsam.pseudo_labels.assignments import training_features
    from umsam.pseudo_labels.clustering import knee, sse_curve
    from umsam.pseudo_labels.shape_priors import read_rois, rejections
    from umsam.pseudo_labels.streamed_kmeans import sample

    turned = turned_against_each_other(map(orientation, snakemake.input.volumes))
    if turned:
        logging.warning(
            "WARNING: volumes are stored mirrored against each other (%s), and shape_priors' x and "
            "y and clustering.position take the place in the stored slice. Store all the same way "
            "up: SimpleITK.DICOMOrient.",
            ", ".join(f"{count} {name}" for name, count in turned.items()),
        )
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
    with atomic_write(snakemake.output.curve) as path:
        curve.to_csv(path, index=False)
    logging.info(
        "%d of %d ROIs; the knee of the curve is at K = %d", len(drawn), count, knee(curve)
    )
