"""Train the UNet of one variant on pseudo-labels or labels, with SAM as its teacher (eq. 6-9)."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import pandas as pd

    from umsam.devices import default_device
    from umsam.files import atomic_write
    from umsam.training.dataset import SliceDataset, read_training_cases
    from umsam.training.train import TrainingSettings, train
    from umsam.training.variants import VARIANTS

    variant = VARIANTS[snakemake.wildcards.variant]
    files = snakemake.input
    teacher, view = files.get("sam_features", []), snakemake.params.field_of_view
    cases = read_training_cases(files.volumes, files.labels, teacher, view)
    settings = dict(snakemake.params.settings)
    dataset = SliceDataset(cases, settings.pop("empty_slice_fraction", 1.0))
    logging.info(
        "%d volumes, %d slices, %d of them with a target",
        len(cases),
        len(dataset),
        dataset.positive_slices,
    )
    if not dataset.positive_slices:
        logging.warning(
            "WARNING: the targets of all training slices are empty, so the network can only learn "
            "background. Look at results/%s/clusters/target.json (which cluster was chosen, and "
            "why) and at rois/*.csv (which shape prior rejects the ROIs).",
            snakemake.wildcards.dataset,
        )
    labelled = files.get("val_volumes", [])
    validation = read_training_cases(labelled, files.val_labels) if labelled else []
    result = train(
        dataset,
        variant,
        TrainingSettings(**settings),
        seed=int(snakemake.wildcards.seed),
        device=default_device(),
        validation=validation,
    )
    with atomic_write(snakemake.output.log) as path:
        pd.DataFrame(result.history).to_csv(path, index=False, float_format="%.6g")
    with atomic_write(snakemake.output.last) as path:
        result.last.save(path)
    with atomic_write(snakemake.output.best) as path:
        result.best.save(path)
    logging.info("unet.pt is epoch %d, last.pt epoch %d", result.best.epoch, result.last.epoch)
