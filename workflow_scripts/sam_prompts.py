"""SAM on one volume, with clicks or a box on every slice that contains the target."""

from umsam.jobs import job

with job(snakemake):
    import logging
    import time

    from segment_anything import SamPredictor

    from umsam.baselines.sam_prompts import segment_with_boxes, segment_with_points
    from umsam.data.predictions import write_prediction
    from umsam.data.volumes import read_array, read_volume
    from umsam.devices import default_device
    from umsam.models.sam import load_sam

    settings, scale = snakemake.params.sam, snakemake.params.scale
    volume = read_volume(snakemake.input.volume)
    label = read_array(snakemake.input.label) > 0
    weights = snakemake.input.sam_weights
    predictor = SamPredictor(
        load_sam(settings["model"], weights, default_device(), settings["sha256"])
    )

    start = time.perf_counter()
    if scale is None:
        mask = segment_with_points(predictor, volume.array, label, snakemake.params.seed)
    else:
        mask = segment_with_boxes(predictor, volume.array, label, scale)
    seconds = time.perf_counter() - start

    prompts = int(label.any(axis=(1, 2)).sum())
    write_prediction(snakemake.output, mask, volume, seconds, prompted_slices=prompts)
    logging.info("prompts on %d of %d slices, %.1f s", prompts, len(label), seconds)
