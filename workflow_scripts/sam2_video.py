"""SAM2 on one volume as a video, with one click or one box."""

from umsam.jobs import job

with job(snakemake):
    import logging
    import time
    from pathlib import Path

    import numpy as np
    from transformers.utils.logging import disable_progress_bar

    from umsam.baselines.sam2 import box_prompt, load_sam2, point_prompt, segment_video
    from umsam.baselines.weights import check_weights
    from umsam.data.predictions import write_prediction
    from umsam.data.volumes import read_array, read_volume
    from umsam.devices import default_device

    disable_progress_bar()
    device = default_device()
    volume = read_volume(snakemake.input.volume)
    label = read_array(snakemake.input.label) > 0
    folder = Path(snakemake.input.weights[0]).parent
    check_weights(folder, snakemake.params.sha256, "sam2")
    model = load_sam2(folder, device)

    start = time.perf_counter()
    mask, z = np.zeros(label.shape, bool), None
    if label.any():
        simulate = {"sam2_point": point_prompt, "sam2_box": box_prompt}[snakemake.wildcards.method]
        prompt = simulate(label)
        mask, z = segment_video(model, volume.array, prompt, device), prompt.z
    seconds = time.perf_counter() - start

    write_prediction(snakemake.output, mask, volume, seconds, prompted_slice=z)
    segmented = mask.any(axis=(1, 2)).sum()
    logging.info("prompt on slice %s, mask in %d slices, %.1f s", z, segmented, seconds)
