"""K-means on one labelled volume, by intensity or DINO features; the label selects the cluster."""

from umsam.jobs import job

with job(snakemake):
    import logging
    import time

    from umsam.baselines.kmeans import best_cluster, cluster_feature_maps, cluster_intensity
    from umsam.data.predictions import write_prediction
    from umsam.data.volumes import read_array, read_volume
    from umsam.pseudo_labels.feature_space import read_kmeans

    volume = read_volume(snakemake.input.volume)
    label = read_array(snakemake.input.label) > 0
    clustering, seed = snakemake.params.clustering, snakemake.params.seed
    k = clustering["k"]
    if k == "auto":
        k = len(read_kmeans(snakemake.input.kmeans)[0])

    if snakemake.wildcards.method == "kmeans_dino":
        from umsam.devices import default_device
        from umsam.models.dino import feature_maps, load_dino

        dino, device = snakemake.params.dino, default_device()
        model = load_dino(
            dino["model"],
            snakemake.input.get("weights"),
            device,
            dino["image_size"],
            dino["sha256"],
        )
        start = time.perf_counter()
        maps = feature_maps(model, volume.array, dino["batch_size"], device)
        clusters = cluster_feature_maps(maps, label.shape, k, clustering["n_init"], seed)
    else:
        start = time.perf_counter()
        clusters = cluster_intensity(volume.array, k, clustering["n_init"], seed)
    seconds = time.perf_counter() - start

    best = best_cluster(clusters, label, k)
    write_prediction(snakemake.output, clusters == best, volume, seconds, cluster=best, k=k)
    logging.info("cluster %d of %d has the best DSC, %.1f s", best, k, seconds)
