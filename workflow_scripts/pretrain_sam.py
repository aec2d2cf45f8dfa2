"""Train the compact SAM on procedural scenes; goes on where it was stopped."""

from umsam.jobs import job

with job(snakemake):
    from umsam.pretraining.sam_training import SamTraining, pretrain
    from umsam.pretraining.settings import from_configuration

    start = {"initial": snakemake.input[0]} if snakemake.input else {}
    settings = from_configuration(SamTraining, snakemake.params.sam | start, "pretraining.sam")
    pretrain(snakemake.output[0], settings, snakemake.threads)
