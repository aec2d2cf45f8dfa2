"""Everything mode on one volume: class-agnostic masks per slice and SAM's embedding (eq. 1-2)."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import numpy as np

    from umsam.data.intensity import to_rgb_uint8
    from umsam.data.volumes import read_array
    from umsam.devices import default_device
    from umsam.files import whole, whole_directory
    from umsam.jobs import progress
    from umsam.pseudo_labels.everything_mode import check_settings, everything_mode
    from umsam.pseudo_labels.masks import slice_file, write_slice_masks
    from umsam.pseudo_labels.sam import generator_settings, load_sam

    settings = generator_settings(snakemake.params.sam)
    check_settings(settings)
    volume = read_array(snakemake.input.volume)
    device = default_device()
    sam = load_sam(settings["model"], snakemake.input.sam_weights, device, settings["sha256"])

    found, features = 0, None
    with (
        whole_directory(snakemake.output.masks) as folder,
        whole(snakemake.output.features) as feature_file,
    ):
        for z, image in enumerate(progress(volume, len(volume), "slices")):
            masks, embedding = everything_mode(sam, to_rgb_uint8(image), settings)
            write_slice_masks(slice_file(folder, z), masks)
            if features is None:
                shape = (len(volume), *embedding.shape)
                features = np.lib.format.open_memmap(feature_file, "w+", np.float16, shape)
            features[z] = embedding
            found += len(masks)
        features.flush()
    logging.info("%d ROIs on %d slices, embedding %s", found, len(volume), features.shape[1:])
    if not found:
        logging.warning(
            "WARNING: no ROI on any slice. Lower sam.pred_iou_thresh (%g) or "
            "sam.stability_score_thresh (%g), or raise sam.points_per_side (%d).",
            settings["pred_iou_thresh"],
            settings["stability_score_thresh"],
            settings["points_per_side"],
        )
