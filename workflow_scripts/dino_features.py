"""Feature maps of one volume, DINO's or SAM's, pooled over its valid ROIs (eq. 4) or their rims."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import numpy as np

    from umsam.data.volumes import read_volume
    from umsam.files import whole
    from umsam.pseudo_labels.masks import read_slice_masks, slice_file
    from umsam.pseudo_labels.roi_features import in_square, rims, roi_features
    from umsam.pseudo_labels.shape_priors import read_rois

    rois = read_rois(snakemake.input.rois)
    valid = rois[rois["valid"]].sort_values(["slice", "index"])
    slices = valid["slice"].unique().tolist()  # only these need a feature map
    volume = read_volume(snakemake.input.volume)
    of_sam = snakemake.params.source == "sam"
    if of_sam:
        from umsam.pseudo_labels.field_of_view import view_of

        side = snakemake.params.field_of_view
        seen = view_of(volume.array.shape[1:], volume.spacing[1:], side).window
        embedding = np.load(snakemake.input.sam_features, mmap_mode="r")
        length, maps = embedding.shape[1], (np.float32(embedding[z]) for z in slices)
    else:
        from umsam.devices import default_device
        from umsam.pseudo_labels.dino import feature_maps, load_dino

        settings, device = snakemake.params.dino, default_device()
        weights = snakemake.input.get("dino_weights")
        dino = load_dino(
            settings["model"], weights, device, settings["image_size"], settings["sha256"]
        )
        length = dino.model.num_features
        batch = settings["batch_size"]
        maps = feature_maps(dino, volume.array[slices], batch, device) if slices else []

    pooled = [np.zeros((0, length), np.float32)]
    for z, feature_map in zip(slices, maps, strict=True):
        masks = read_slice_masks(slice_file(snakemake.input.masks, z)).masks
        chosen = masks[valid.loc[valid["slice"] == z, "index"].to_numpy()]
        if of_sam:
            chosen = chosen[:, *seen]
        if snakemake.params.rim:
            chosen = rims(chosen, snakemake.params.rim)
        if of_sam:
            chosen = in_square(chosen)
        pooled.append(roi_features(feature_map, chosen))
    features = np.concatenate(pooled)
    with whole(snakemake.output.features) as path:
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
