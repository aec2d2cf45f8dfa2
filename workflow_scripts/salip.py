"""SaLIP on one volume; the label states which slices contain the target."""

from umsam.jobs import job

with job(snakemake):
    import logging
    import time
    from functools import partial
    from pathlib import Path

    from segment_anything import SamPredictor

    from umsam.baselines.clip import load_clip
    from umsam.baselines.salip import salip
    from umsam.baselines.weights import check_weights
    from umsam.data.masks import read_slice_masks, slice_file
    from umsam.data.predictions import write_prediction
    from umsam.data.volumes import read_array, read_volume
    from umsam.devices import default_device
    from umsam.models.sam import load_sam
    from umsam.planning.descriptions import read_descriptions

    device = default_device()
    sam, settings = snakemake.params.sam, snakemake.params.settings
    volume = read_volume(snakemake.input.volume)
    positive = (read_array(snakemake.input.label) > 0).any(axis=(1, 2))
    folder = snakemake.input.masks
    proposals = [read_slice_masks(slice_file(folder, z)) for z in range(len(positive))]
    descriptions = read_descriptions(snakemake.input.descriptions, "salip")
    clip_folder = Path(snakemake.input.weights[0]).parent
    check_weights(clip_folder, snakemake.params.sha256, "clip")
    clip = load_clip(clip_folder, device)
    predictor = SamPredictor(
        load_sam(sam["model"], snakemake.input.sam_weights, device, sam["sha256"])
    )

    start = time.perf_counter()
    similarity = partial(
        clip.compute_similarity,
        class_feature=clip.encode_class(descriptions),
        batch_size=settings["batch_size"],
    )
    mask = salip(predictor, similarity, volume.array, positive, proposals, settings["max_area"])
    seconds = time.perf_counter() - start

    write_prediction(snakemake.output, mask, volume, seconds, positive_slices=int(positive.sum()))
    segmented = mask.any(axis=(1, 2)).sum()
    logging.info("target in %d slices, mask in %d, %.1f s", positive.sum(), segmented, seconds)
