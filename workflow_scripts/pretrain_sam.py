"""Train the compact SAM on procedural scenes; goes on where it was stopped."""

from umsam.jobs import job

with job(snakemake):
    from umsam.pretraining.sam_training import SamTraining, pretrain

    start = {"initial": snakemake.input[0]} if snakemake.input else {}
    pretrain(snakemake.output[0], SamTraining(**snakemake.params.sam | start), snakemake.threads)
