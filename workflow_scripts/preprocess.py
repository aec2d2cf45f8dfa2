"""One volume, read from any format, clipped and scaled to [0, 1]; its geometry kept."""

from umsam.jobs import job

with job(snakemake):
    from umsam.data.intensity import normalise
    from umsam.data.volumes import check_slice_axis, read_volume, write_volume

    intensity = snakemake.params.intensity
    volume = read_volume(snakemake.input.image)
    check_slice_axis(snakemake.input.image, volume)
    scaled = normalise(volume.array, intensity["lower_percentile"], intensity["upper_percentile"])
    write_volume(snakemake.output.volume, scaled, like=volume)
