"""The target cluster: the one that fits the prior, and the evidence if the settings ask for it."""

from umsam.jobs import job

with job(snakemake):
    import json
    import logging

    from umsam.files import atomic_write
    from umsam.numbers import parse_number
    from umsam.pseudo_labels.assignments import assign_rois, roi_files
    from umsam.pseudo_labels.feature_space import read_kmeans
    from umsam.pseudo_labels.target import (
        choose_target,
        counts_and_sums,
        mean_continuity,
        target_record,
    )

    inputs, settings = snakemake.input, snakemake.params.target
    attribute, prior = settings["attribute"], parse_number(settings["prior"])
    cases = snakemake.params.cases
    files = roi_files(cases, inputs.features, inputs.rois)
    centroids, space = read_kmeans(inputs.kmeans)
    k = len(centroids)

    counts, sums = counts_and_sums(assign_rois(files, centroids, space, attribute), k)
    continuity = None
    if settings["choose_by"] == "evidence":
        folders = dict(zip(cases, inputs.masks, strict=True))
        continuity = mean_continuity(assign_rois(files, centroids, space, attribute), folders, k)
    target = choose_target(counts, sums, prior, settings["near_tie"], attribute, continuity)
    with atomic_write(snakemake.output.target) as path:
        path.write_text(json.dumps(target_record(target, attribute, prior), indent=2) + "\n")
    logging.info("%d training ROIs in %d clusters; %s", counts.sum(), k, target.reason)
