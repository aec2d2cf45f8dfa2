"""Read one volume in any format, clip it and scale it to [0, 1]; its geometry is kept."""

from umsam.jobs import job

with job(snakemake):
    from umsam.data.intensity import normalise
    from umsam.data.sources import check_slice_axis
    from umsam.data.volumes import read_source_volume, write_volume

    intensity = snakemake.params.intensity
    volume = read_source_volume(snakemake.input.image)
    check_slice_axis(snakemake.input.image, volume)
    scaled = normalise(volume.array, intensity["lower_percentile"], intensity["upper_percentile"])
    write_volume(snakemake.output.volume, scaled, like=volume)
