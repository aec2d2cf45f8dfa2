"""CryoSAM on one volume with one click."""

from umsam.jobs import job

with job(snakemake):
    import logging
    import time
    from pathlib import Path

    import numpy as np
    from segment_anything import SamPredictor

    from umsam.baselines.cryosam import Slices, cryosam
    from umsam.baselines.prompts import foreground_point, prompt_slice
    from umsam.baselines.weights import check_weights
    from umsam.data.predictions import write_prediction
    from umsam.data.volumes import read_array, read_volume
    from umsam.devices import default_device
    from umsam.models.dino import feature_maps, load_dino
    from umsam.models.sam import load_sam

    device = default_device()
    sam, dino, settings = (snakemake.params[key] for key in ("sam", "dino", "settings"))
    volume = read_volume(snakemake.input.volume)
    label = read_array(snakemake.input.label) > 0
    weights = snakemake.input.get("dino_weights")
    if snakemake.params.sha256:
        check_weights(Path(weights).parent, snakemake.params.sha256, "dinov2")
    extractor = load_dino(dino["model"], weights, device, dino["image_size"], dino["sha256"])
    model = load_sam(sam["model"], snakemake.input.sam_weights, device, sam["sha256"])

    start = time.perf_counter()
    mask, matches = np.zeros(label.shape, bool), 0
    if label.any():
        z = prompt_slice(label)
        features = feature_maps(extractor, volume.array, dino["batch_size"], device)
        slices = Slices(SamPredictor(model), volume.array)
        mask, matches = cryosam(slices, features, z, foreground_point(label[z]), settings)
    seconds = time.perf_counter() - start

    write_prediction(snakemake.output, mask, volume, seconds, matches=matches)
    logging.info("%d matches of the clicked object, %.1f s", matches, seconds)
