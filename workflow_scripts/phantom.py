"""Generate one phantom volume and its label; the name of the case determines the content."""

from umsam.jobs import job

with job(snakemake):
    import numpy as np

    from umsam.data.phantoms import generate_case
    from umsam.data.volumes import Volume, write_volume

    image, label, spacing = generate_case(
        snakemake.params.phantom["kind"], snakemake.wildcards.case
    )
    geometry = Volume(image, spacing)
    write_volume(snakemake.output.image, image.astype(np.int16), like=geometry)
    write_volume(snakemake.output.label, label, like=geometry)
