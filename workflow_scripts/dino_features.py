"""Feature maps of one volume, DINO's or SAM's, pooled over its valid ROIs (eq. 4) or their rims."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import numpy as np

    from umsam.data.volumes import read_volume
    from umsam.files import atomic_write
    from umsam.pseudo_labels.roi_features import joined, pooled
    from umsam.pseudo_labels.shape_priors import read_rois

    rois = read_rois(snakemake.input.rois)
    valid = rois[rois["valid"]].sort_values(["slice", "index"])
    slices = valid["slice"].unique().tolist()  # only these need a feature map
    volume = read_volume(snakemake.input.volume)
    where = (valid, snakemake.input.masks, snakemake.params.rim)
    parts = []
    if snakemake.params.source in ("sam", "both"):
        from umsam.data.field_of_view import view_of

        side = snakemake.params.field_of_view
        view = view_of(volume.array.shape[1:], volume.spacing[1:], side)
        embedding = np.load(snakemake.input.sam_features, mmap_mode="r")
        maps = (np.float32(embedding[z]) for z in slices)
        parts.append(pooled(maps, embedding.shape[1], *where, view))
    if snakemake.params.source in ("dino", "both"):
        from umsam.devices import default_device
        from umsam.models.dino import feature_maps, load_dino

        settings, device = snakemake.params.dino, default_device()
        weights = snakemake.input.get("dino_weights")
        dino = load_dino(
            settings["model"], weights, device, settings["image_size"], settings["sha256"]
        )
        batch = settings["batch_size"]
        maps = feature_maps(dino, volume.array[slices], batch, device) if slices else []
        parts.append(pooled(maps, dino.model.num_features, *where))
    features = joined(parts)
    with atomic_write(snakemake.output.features) as path:
        np.savez_compressed(
            path,
            features=features,
            slice=valid["slice"].to_numpy(np.int64),
            index=valid["index"].to_numpy(np.int64),
            aspect_ratio=valid["aspect_ratio"].to_numpy(float),
            area_mm2=valid["area_mm2"].to_numpy(float),
            x=valid["x"].to_numpy(float),
            y=valid["y"].to_numpy(float),
        )
    logging.info("features of %d ROIs, %d numbers each", *features.shape)
