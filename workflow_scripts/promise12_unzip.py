"""One of PROMISE12's archives, unzipped to the folder of its name."""

from umsam.jobs import job

with job(snakemake):
    from umsam.data.promise12 import unpack

    unpack(snakemake.input.archive, snakemake.output.folder)
