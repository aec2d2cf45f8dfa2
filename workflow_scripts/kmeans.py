"""K-means over the training ROIs' features, and the choice of the target cluster."""

from umsam.jobs import job

with job(snakemake):
    import json
    import logging

    import numpy as np
    import pandas as pd

    from umsam.files import whole
    from umsam.numbers import as_number
    from umsam.pseudo_labels.assignments import assignments, training_features
    from umsam.pseudo_labels.clustering import choose_target, knee, target_record
    from umsam.pseudo_labels.feature_space import save_kmeans
    from umsam.pseudo_labels.streamed_kmeans import fit_streamed

    settings, target_settings = snakemake.params.clustering, snakemake.params.target
    attribute, prior = target_settings["attribute"], as_number(target_settings["prior"])
    cases = snakemake.params.cases
    curve = pd.read_csv(snakemake.input.curve)
    space, features = training_features(cases, snakemake.input.features, settings["space"])
    k = knee(curve) if settings["k"] == "auto" else settings["k"]
    clusters = fit_streamed(features, k, settings["n_init"], settings["seed"], settings["max_rois"])

    counts, sums = np.zeros(clusters.k, int), np.zeros(clusters.k)
    splits, files = ["train"] * len(cases), snakemake.input.features
    for rois in assignments(cases, splits, files, clusters.centroids, attribute, space):
        counts += np.bincount(rois["cluster"], minlength=clusters.k)
        sums += np.bincount(rois["cluster"], weights=rois["attribute"], minlength=clusters.k)
    target = choose_target(counts, sums, prior, target_settings["near_tie"], attribute)

    with whole(snakemake.output.kmeans) as path:
        save_kmeans(path, clusters.centroids, clusters.inertia, space)
    with whole(snakemake.output.target) as path:
        record = target_record(target, clusters, curve, attribute, prior)
        path.write_text(json.dumps(record, indent=2) + "\n")
    logging.info("%d training ROIs in %d clusters; %s", counts.sum(), clusters.k, target.reason)
