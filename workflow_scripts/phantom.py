"""One generated volume and its label; the case's name decides what is in it."""

from umsam.jobs import job

with job(snakemake):
    import numpy as np

    from umsam.data.phantoms import phantom_case
    from umsam.data.volumes import Volume, write_volume

    image, label, spacing = phantom_case(snakemake.params.phantom["kind"], snakemake.wildcards.case)
    geometry = Volume(image, spacing)
    write_volume(snakemake.output.image, image.astype(np.int16), like=geometry)
    write_volume(snakemake.output.label, label, like=geometry)
