"""Compute the IoU of every ROI of the labelled training volumes with the label (Fig. 3a)."""

from umsam.jobs import job

with job(snakemake):
    from umsam.evaluation.case_ious import case_ious
    from umsam.files import atomic_write
    from umsam.jobs import progress

    files = zip(
        snakemake.input.masks,
        snakemake.input.rois,
        snakemake.input.pseudo_labels,
        snakemake.input.labels,
        strict=True,
    )
    with atomic_write(snakemake.output.ious) as path, path.open("w", newline="") as stream:
        for paths in progress(files, len(snakemake.input.labels), "volumes"):
            case_ious(*paths).to_csv(stream, index=False, header=not stream.tell())
