"""Plan and train nnU-Net on the labelled training cases of a data set."""

from umsam.jobs import job

with job(snakemake):
    from pathlib import Path

    from umsam.baselines.nnunet import train_nnunet
    from umsam.devices import default_device
    from umsam.files import atomic_directory

    settings = snakemake.params.settings
    with atomic_directory(snakemake.output[0]) as model:
        train_nnunet(
            Path(snakemake.input[0]),
            model,
            settings["configuration"],
            settings["trainer"],
            default_device(),
            snakemake.threads,
        )
