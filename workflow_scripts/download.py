"""One public file, fetched and verified."""

from umsam.jobs import job

INSTEAD = (
    "Or point to a local copy: data_root or UMSAM_DATA_ROOT for data, sam.checkpoint for weights."
)

with job(snakemake):
    from umsam.data.download import download

    download(snakemake.params.url, snakemake.output[0], snakemake.params.sha256, instead=INSTEAD)
