"""One label: 0 and 1, checked to lie on its image's grid, with the image's geometry."""

from umsam.jobs import job

with job(snakemake):
    from umsam.data.volumes import read_label, read_volume, write_volume

    image = read_volume(snakemake.input.image)
    label = read_label(snakemake.input.label, image, snakemake.input.image)
    write_volume(snakemake.output.label, label, like=image)
