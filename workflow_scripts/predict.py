"""Segment one volume with a trained UNet."""

from umsam.jobs import job

with job(snakemake):
    import logging
    import time

    from umsam.data.predictions import write_prediction
    from umsam.data.volumes import read_volume
    from umsam.devices import default_device
    from umsam.postprocessing import largest_component
    from umsam.training.checkpoint import load_unet
    from umsam.training.predict import predict_volume

    device = default_device()
    unet = load_unet(snakemake.input.unet, device)
    volume = read_volume(snakemake.input.volume)

    start = time.perf_counter()
    mask = predict_volume(
        unet, volume.array, volume.spacing, device, smooth=snakemake.params.smooth_z
    )
    if snakemake.params.largest_component:
        mask = largest_component(mask)
    seconds = time.perf_counter() - start

    write_prediction(snakemake.output, mask, volume, seconds)
    logging.info("%d slices in %.2f s, %d voxels", len(mask), seconds, int(mask.sum()))
