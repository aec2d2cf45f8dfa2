"""The pseudo-label volume of one case (eq. 5): its ROIs in the target cluster."""

from umsam.jobs import job

with job(snakemake):
    import json
    import logging
    from pathlib import Path

    from umsam.data.volumes import read_volume, write_volume
    from umsam.pseudo_labels.assignments import assign_rois, roi_files
    from umsam.pseudo_labels.feature_space import read_kmeans
    from umsam.pseudo_labels.pseudo_labels import draw_label, select_rois, target_rois
    from umsam.pseudo_labels.shape_priors import read_rois

    inputs, case = snakemake.input, snakemake.wildcards.case
    volume = read_volume(inputs.volume)
    target = json.loads(Path(inputs.target).read_text())
    files = roi_files([case], [inputs.features], [inputs.rois])
    centroids, space = read_kmeans(inputs.kmeans)
    (assigned,) = assign_rois(files, centroids, space, target["attribute"])
    rois = target_rois(assigned, read_rois(inputs.rois), target["cluster"])
    selected = select_rois(rois, snakemake.params.select, target["prior"], inputs.masks, case)
    label = draw_label(selected, inputs.masks, volume.array.shape)
    write_volume(snakemake.output.pseudo_label, label, like=volume)
    positive = label.any(axis=(1, 2)).sum()
    logging.info("%d of %d slices have a pseudo-label", positive, len(label))
