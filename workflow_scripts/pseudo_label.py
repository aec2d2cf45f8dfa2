"""The pseudo-label volume of one case (eq. 5): its ROIs in the target cluster."""

from umsam.jobs import job

with job(snakemake):
    import json
    import logging
    from pathlib import Path

    import numpy as np

    from umsam.data.volumes import read_volume, write_volume
    from umsam.pseudo_labels.assignments import assignments
    from umsam.pseudo_labels.feature_space import read_kmeans
    from umsam.data.masks import read_slice_masks, slice_file
    from umsam.pseudo_labels.pseudo_labels import choose, read_links, target_rois
    from umsam.pseudo_labels.shape_priors import read_rois

    case = snakemake.wildcards.case
    volume = read_volume(snakemake.input.volume)
    target = json.loads(Path(snakemake.input.target).read_text())
    centroids, space = read_kmeans(snakemake.input.kmeans)
    features, attribute = [snakemake.input.features], target["attribute"]
    (assigned,) = assignments([case], [""], features, centroids, attribute, space)
    rois = target_rois(assigned, read_rois(snakemake.input.rois), target["cluster"])

    select, folder = snakemake.params.select, snakemake.input.masks
    chosen = choose(rois, select, target["prior"], read_links(folder, rois, select))

    labels = np.zeros(volume.array.shape, np.uint8)
    for z, of_slice in chosen.groupby("slice"):
        masks = read_slice_masks(slice_file(folder, z)).masks
        labels[z] = masks[of_slice["index"]].any(axis=0)
    write_volume(snakemake.output.pseudo_label, labels, like=volume)
    candidates = rois["slice"].nunique()
    if select == "continuous" and len(chosen) == 1 < candidates:
        logging.warning(
            "WARNING: case %s: of the ROIs in the target cluster, on %d slices, one alone is "
            "taken: hardly any overlaps with one of the next slice by more than half. Where slices "
            "are so far apart, target.select: nearest_centroid takes one of each.",
            case,
            candidates,
        )
    positive = labels.any(axis=(1, 2)).sum()
    logging.info("%d of %d slices have a pseudo-label", positive, len(labels))
