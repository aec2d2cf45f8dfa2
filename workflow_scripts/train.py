"""Train the UNet of one variant on pseudo-labels or labels, with SAM as its teacher (eq. 6-9)."""

from umsam.jobs import job

# The trained weights depend on the number of threads, so it is a setting.
with job(snakemake, threads=snakemake.params.settings["threads"]):
    import logging

    import pandas as pd
    import torch

    from umsam.devices import default_device
    from umsam.files import atomic_write
    from umsam.training.dataset import SliceDataset, read_training_cases
    from umsam.training.settings import TrainingSettings
    from umsam.training.train import train
    from umsam.training.variants import VARIANTS

    variant = VARIANTS[snakemake.wildcards.variant]
    files, settings = snakemake.input, dict(snakemake.params.settings)
    torch.set_num_threads(settings.pop("threads"))
    cases = read_training_cases(
        files.volumes,
        files.labels,
        files.get("sam_features", []),
        snakemake.params.field_of_view,
    )
    dataset = SliceDataset(cases, settings.pop("empty_slice_fraction", 1.0))
    dataset.report(snakemake.wildcards.dataset)
    validation_volumes = files.get("val_volumes", [])
    validation = (
        read_training_cases(validation_volumes, files.val_labels) if validation_volumes else []
    )
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
