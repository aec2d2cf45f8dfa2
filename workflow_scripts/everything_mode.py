"""Everything mode on one volume: class-agnostic masks per slice and SAM's embedding (eq. 1-2)."""

from umsam.jobs import job

with job(snakemake):
    import logging

    from umsam.data.volumes import read_volume
    from umsam.devices import default_device
    from umsam.files import atomic_write, atomic_directory
    from umsam.everything_mode.everything_mode import everything_mode, make_generator
    from umsam.data.field_of_view import view_of
    from umsam.models.sam import generator_settings, load_sam

    settings = generator_settings(snakemake.params.sam)
    volume = read_volume(snakemake.input.volume)
    view = view_of(volume.array.shape[1:], volume.spacing[1:], settings["field_of_view"])
    sam = load_sam(
        settings["model"], snakemake.input.sam_weights, default_device(), settings["sha256"]
    )
    generator = make_generator(sam, settings)
    with (
        atomic_directory(snakemake.output.masks) as folder,
        atomic_write(snakemake.output.features) as features,
    ):
        found = everything_mode(generator, volume.array, view, folder, features)
    logging.info("%d ROIs on %d slices", found, len(volume.array))
    if not found:
        logging.warning(
            "WARNING: no ROI on any slice. Lower sam.pred_iou_thresh (%g) or "
            "sam.stability_score_thresh (%g), or raise sam.points_per_side (%d).",
            settings["pred_iou_thresh"],
            settings["stability_score_thresh"],
            settings["points_per_side"],
        )
