"""Feature maps of one volume, DINO's or SAM's or both, pooled over its valid ROIs (eq. 4)."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import numpy as np

    from umsam.data.field_of_view import central_view
    from umsam.data.volumes import read_volume
    from umsam.pseudo_labels.roi_features import (
        concatenate_features,
        pool_roi_features,
        write_roi_features,
    )
    from umsam.pseudo_labels.shape_priors import read_valid_rois

    files = snakemake.input
    rois = read_valid_rois(files.rois)
    volume = read_volume(files.volume)
    view = central_view(volume.array.shape[1:], volume.spacing[1:], snakemake.params.field_of_view)
    parts = [
        pool_roi_features(
            np.load(files.get(name), mmap_mode="r"),
            rois,
            files.masks,
            snakemake.params.rim_width,
            view if name == "sam_features" else None,  # DINO's map covers the whole slice
        )
        for name in ("sam_features", "dino_features")
        if files.get(name)
    ]
    features = concatenate_features(parts)
    write_roi_features(snakemake.output.features, rois, features)
    logging.info("features of %d ROIs, %d numbers each", *features.shape)
