"""DINO's feature maps of one volume, pooled over its valid ROIs (eq. 4)."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import numpy as np

    from umsam.data.volumes import read_array
    from umsam.devices import default_device
    from umsam.files import whole
    from umsam.pseudo_labels.dino import feature_maps, load_dino
    from umsam.pseudo_labels.masks import read_slice_masks, slice_file
    from umsam.pseudo_labels.roi_features import roi_features
    from umsam.pseudo_labels.shape_priors import read_rois

    settings, device = snakemake.params.dino, default_device()
    volume = read_array(snakemake.input.volume)
    rois = read_rois(snakemake.input.rois)
    valid = rois[rois["valid"]].sort_values(["slice", "index"])
    dino = load_dino(
        settings["model"],
        snakemake.input.get("dino_weights"),
        device,
        settings["image_size"],
        settings["sha256"],
    )

    slices = valid["slice"].unique().tolist()  # only these pass through the network
    pooled = [np.zeros((0, dino.model.num_features), np.float32)]
    if slices:
        maps = feature_maps(dino, volume[slices], settings["batch_size"], device)
        for z, feature_map in zip(slices, maps, strict=True):
            masks = read_slice_masks(slice_file(snakemake.input.masks, z)).masks
            chosen = valid.loc[valid["slice"] == z, "index"].to_numpy()
            pooled.append(roi_features(feature_map, masks[chosen]))
    features = np.concatenate(pooled)
    with whole(snakemake.output.features) as path:
        np.savez_compressed(
            path,
            features=features,
            slice=valid["slice"].to_numpy(np.int64),
            index=valid["index"].to_numpy(np.int64),
        )
    logging.info(
        "features of %d ROIs on %d slices, %d each",
        *features.shape[:1],
        len(slices),
        features.shape[1],
    )
