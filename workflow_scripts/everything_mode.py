"""Everything mode on one volume: class-agnostic masks per slice and SAM's embedding (eq. 1-2)."""

from umsam.jobs import job

with job(snakemake):
    import logging

    from umsam.data.field_of_view import central_view
    from umsam.data.volumes import read_volume
    from umsam.devices import default_device
    from umsam.everything_mode.volume_loop import make_generator, segment_volume
    from umsam.files import atomic_directory, atomic_write
    from umsam.models.sam import load_sam

    settings, weights = snakemake.params.sam, snakemake.input.sam_weights
    volume = read_volume(snakemake.input.volume)
    view = central_view(volume.array.shape[1:], volume.spacing[1:], settings["field_of_view"])
    sam = load_sam(settings["model"], weights, default_device(), settings["sha256"])
    generator = make_generator(sam, settings)
    with (
        atomic_directory(snakemake.output.masks) as folder,
        atomic_write(snakemake.output.features) as features,
    ):
        mask_count = segment_volume(generator, volume.array, view, folder, features)
    logging.info("%d ROIs on %d slices", mask_count, len(volume.array))
    if not mask_count:
        logging.warning(
            "WARNING: no ROI on any slice. Lower sam.pred_iou_thresh (%g) or "
            "sam.stability_score_thresh (%g), or raise sam.points_per_side (%d).",
            settings["pred_iou_thresh"],
            settings["stability_score_thresh"],
            settings["points_per_side"],
        )
