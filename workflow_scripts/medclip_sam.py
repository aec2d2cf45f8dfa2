"""MedCLIP-SAM on one volume; the label states which slices contain the target."""

from umsam.jobs import job

with job(snakemake):
    import logging
    import time
    from functools import partial
    from pathlib import Path

    from segment_anything import SamPredictor

    from umsam.baselines.biomedclip import load_biomedclip
    from umsam.baselines.dense_crf import Kernels
    from umsam.baselines.medclip_sam import medclip_sam
    from umsam.baselines.weights import check_weights
    from umsam.data.predictions import write_prediction
    from umsam.data.volumes import read_array, read_volume
    from umsam.devices import default_device
    from umsam.models.sam import load_sam
    from umsam.planning.descriptions import read_descriptions

    device = default_device()
    sam, settings = snakemake.params.sam, snakemake.params.settings
    volume = read_volume(snakemake.input.volume)
    positive = (read_array(snakemake.input.label) > 0).any(axis=(1, 2))
    descriptions = read_descriptions(snakemake.input.descriptions, "medclip_sam")
    folder = Path(snakemake.input.weights[0]).parent
    text_folder = Path(snakemake.input.text_weights[0]).parent
    check_weights(folder, snakemake.params.sha256, "biomedclip")
    check_weights(text_folder, snakemake.params.text_sha256, "biomedbert")
    clip = load_biomedclip(folder, text_folder, device)
    predictor = SamPredictor(
        load_sam(sam["model"], snakemake.input.sam_weights, device, sam["sha256"])
    )

    start = time.perf_counter()
    saliency = partial(
        clip.compute_saliency,
        text_feature=clip.encode_texts(descriptions),
        channels=settings["channels"],
        batch_size=settings["batch_size"],
    )
    crf = dict(settings["crf"])
    iterations = crf.pop("iterations")
    mask = medclip_sam(predictor, saliency, volume.array, positive, Kernels(**crf), iterations)
    seconds = time.perf_counter() - start

    write_prediction(snakemake.output, mask, volume, seconds, positive_slices=int(positive.sum()))
    logging.info("target in %d of %d slices, %.1f s", positive.sum(), len(positive), seconds)
