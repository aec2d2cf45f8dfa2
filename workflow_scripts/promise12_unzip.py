"""Unzip one archive of PROMISE12."""

from umsam.jobs import job

with job(snakemake):
    from umsam.data.promise12 import unpack

    unpack(snakemake.input.archive, snakemake.output.folder)
