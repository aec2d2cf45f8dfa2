"""Segment one volume with a trained nnU-Net."""

from umsam.jobs import job

with job(snakemake):
    import logging
    import time

    from umsam.baselines.nnunet import load_nnunet
    from umsam.data.predictions import write_prediction
    from umsam.data.volumes import read_volume
    from umsam.devices import default_device

    predict = load_nnunet(snakemake.input.model, default_device())
    volume = read_volume(snakemake.input.volume)

    start = time.perf_counter()
    mask = predict(volume.array, volume.spacing)
    seconds = time.perf_counter() - start

    write_prediction(snakemake.output, mask, volume, seconds)
    logging.info("%d slices in %.2f s, %d voxels", len(mask), seconds, int(mask.sum()))
