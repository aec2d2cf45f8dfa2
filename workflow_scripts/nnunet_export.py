"""Export the labelled training cases of a data set to nnU-Net's format."""

from umsam.jobs import job

with job(snakemake):
    import logging

    from umsam.baselines.nnunet import export_dataset
    from umsam.evaluation.case_metrics import case_name
    from umsam.files import atomic_directory

    files = snakemake.input
    images, labels = (
        {case_name(path): path for path in paths} for paths in (files.images, files.labels)
    )
    with atomic_directory(snakemake.output[0]) as folder:
        export_dataset(folder, images, labels)
    logging.info("exported %d training cases", len(images))
