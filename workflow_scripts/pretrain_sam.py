"""Train the compact SAM on procedural scenes; an interrupted run resumes from its state."""

from umsam.jobs import job

with job(snakemake):
    from umsam.pretraining.sam_training import SamSettings, pretrain
    from umsam.pretraining.settings import from_configuration

    start = {"initial": snakemake.input[0]} if snakemake.input else {}
    settings = from_configuration(SamSettings, snakemake.params.sam | start, "pretraining.sam")
    pretrain(snakemake.output[0], settings, snakemake.threads)
