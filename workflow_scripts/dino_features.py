"""DINO's feature map of every slice of one volume (the map F_n of eq. 4)."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import numpy as np

    from umsam.data.volumes import read_volume
    from umsam.devices import default_device
    from umsam.files import atomic_write
    from umsam.models.dino import feature_maps, load_dino, to_half

    settings, device = snakemake.params.dino, default_device()
    weights = snakemake.input.get("dino_weights")
    dino = load_dino(settings["model"], weights, device, settings["image_size"], settings["sha256"])
    volume = read_volume(snakemake.input.volume)
    maps = to_half(feature_maps(dino, volume.array, settings["batch_size"], device))
    with atomic_write(snakemake.output.features) as path:
        np.save(path, maps)
    logging.info("%d maps of %d x %d x %d", *maps.shape)
