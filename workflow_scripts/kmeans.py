"""K-means over the training ROIs' features, and the choice of the target cluster."""

from umsam.jobs import job

with job(snakemake):
    import json
    import logging

    import pandas as pd

    from umsam.files import atomic_write
    from umsam.numbers import as_number
    from umsam.pseudo_labels.assignments import assignments, training_features
    from umsam.pseudo_labels.clustering import knee
    from umsam.pseudo_labels.feature_space import save_kmeans
    from umsam.pseudo_labels.streamed_kmeans import fit_streamed
    from umsam.pseudo_labels.target import (
        choose_target,
        counts_and_sums,
        mean_continuity,
        target_record,
    )

    settings, target_settings = snakemake.params.clustering, snakemake.params.target
    attribute, prior = target_settings["attribute"], as_number(target_settings["prior"])
    cases = snakemake.params.cases
    curve = pd.read_csv(snakemake.input.curve)
    space, features = training_features(cases, snakemake.input.features, settings["space"])
    k = knee(curve) if settings["k"] == "auto" else settings["k"]
    clusters = fit_streamed(features, k, settings["n_init"], settings["seed"], settings["max_rois"])

    def assigned():
        """Of each training case the clusters of its ROIs, read anew."""
        splits, files = ["train"] * len(cases), snakemake.input.features
        return assignments(cases, splits, files, clusters.centroids, attribute, space)

    counts, sums = counts_and_sums(assigned(), clusters.k)
    continuity = None
    if target_settings["choose_by"] == "evidence":
        folders = dict(zip(cases, snakemake.input.masks, strict=True))
        continuity = mean_continuity(assigned(), folders, clusters.k)
    near_tie = target_settings["near_tie"]
    target = choose_target(counts, sums, prior, near_tie, attribute, continuity)

    with atomic_write(snakemake.output.kmeans) as path:
        save_kmeans(path, clusters.centroids, clusters.inertia, space)
    with atomic_write(snakemake.output.target) as path:
        record = target_record(target, clusters, curve, attribute, prior)
        path.write_text(json.dumps(record, indent=2) + "\n")
    logging.info("%d training ROIs in %d clusters; %s", counts.sum(), clusters.k, target.reason)
