"""Download one public file and verify it."""

from umsam.jobs import job

ALTERNATIVE = (
    "Or use a local copy: set data_root or UMSAM_DATA_ROOT for data, sam.checkpoint for weights."
)

with job(snakemake):
    from umsam.data.download import download

    download(
        snakemake.params.url, snakemake.output[0], snakemake.params.sha256, alternative=ALTERNATIVE
    )
