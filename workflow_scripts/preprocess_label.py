"""Convert one label to 0 and 1 with the geometry of its image, after checking its grid."""

from umsam.jobs import job

with job(snakemake):
    from umsam.data.sources import read_source_label
    from umsam.data.volumes import read_source_volume, write_volume

    image = read_source_volume(snakemake.input.image)
    label = read_source_label(snakemake.input.label, image, snakemake.input.image)
    write_volume(snakemake.output.label, label, like=image)
