"""Shape priors for the ROIs of one volume (eq. 3): the attributes of each ROI, and whether it is
valid."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import pandas as pd

    from umsam.data.masks import read_slice_masks, slice_file
    from umsam.data.volumes import read_volume
    from umsam.files import atomic_write
    from umsam.pseudo_labels.shape_priors import ShapePriors, rejections, roi_table

    volume = read_volume(snakemake.input.volume)
    priors = ShapePriors.of(snakemake.params.priors)
    tables = [
        roi_table(
            snakemake.wildcards.case,
            z,
            read_slice_masks(slice_file(snakemake.input.masks, z)),
            volume.spacing[1:],
            priors,
        )
        for z in range(len(volume.array))
    ]
    # Empty tables are left out, because they have no column types.
    rois = pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
    with atomic_write(snakemake.output.rois) as path:
        rois.to_csv(path, index=False)
    valid = rois["valid"].sum()
    logging.info("%d of %d ROIs are valid", valid, len(rois))
    if not valid:
        logging.warning("WARNING: no valid ROI in this volume: %s.", rejections(rois))
