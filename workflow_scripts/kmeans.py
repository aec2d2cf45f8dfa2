"""K-means over the training ROIs' features, every ROI assigned, the target cluster chosen."""

from umsam.jobs import job

with job(snakemake):
    import json
    import logging

    import numpy as np
    import pandas as pd

    from umsam.files import whole
    from umsam.numbers import as_number
    from umsam.pseudo_labels.clustering import (
        ASSIGNMENT_COLUMNS,
        assign,
        choose_target,
        fit,
        knee,
        prepared,
        read_roi_features,
        target_record,
    )
    from umsam.pseudo_labels.shape_priors import read_rois

    settings, target_settings = snakemake.params.clustering, snakemake.params.target
    attribute, prior = target_settings["attribute"], as_number(target_settings["prior"])
    split_of = dict(zip(snakemake.params.cases, snakemake.params.splits, strict=True))
    curve = pd.read_csv(snakemake.input.curve)
    measured = pd.concat([read_rois(path) for path in snakemake.input.rois])
    rois, features = read_roi_features(snakemake.params.cases, snakemake.input.features)
    features = prepared(features, settings["l2_normalise"])
    rois["split"] = rois["case"].map(split_of)
    rois = rois.merge(measured[["case", "slice", "index", attribute]], validate="one_to_one")
    rois = rois.rename(columns={attribute: "attribute"})
    training = (rois["split"] == "train").to_numpy()

    k = knee(curve) if settings["k"] == "auto" else settings["k"]
    clusters = fit(features[training], k, settings["n_init"], settings["seed"])
    rois["cluster"], rois["distance"] = assign(features, clusters)
    target = choose_target(
        rois["cluster"].to_numpy()[training],
        rois["attribute"].to_numpy()[training],
        clusters.k,
        prior,
        target_settings["near_tie"],
        attribute,
    )

    with whole(snakemake.output.kmeans) as path:
        np.savez(path, centroids=clusters.centroids, k=clusters.k, inertia=clusters.inertia)
    with whole(snakemake.output.assignments) as path:
        rois[ASSIGNMENT_COLUMNS].to_csv(path, index=False)
    with whole(snakemake.output.target) as path:
        record = target_record(target, clusters, curve, attribute, prior)
        path.write_text(json.dumps(record, indent=2) + "\n")
    logging.info("%d training ROIs in %d clusters; %s", training.sum(), clusters.k, target.reason)
