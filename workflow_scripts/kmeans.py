"""K-means over the features of the training ROIs."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import pandas as pd

    from umsam.data.orientation import warn_of_mirrored_volumes
    from umsam.files import atomic_write
    from umsam.pseudo_labels.assignments import roi_files, training_features
    from umsam.pseudo_labels.feature_space import save_kmeans
    from umsam.pseudo_labels.knee import knee
    from umsam.pseudo_labels.streamed_kmeans import fit_streamed

    inputs, settings = snakemake.input, snakemake.params.clustering
    warn_of_mirrored_volumes(inputs.volumes)
    files = roi_files(snakemake.params.cases, inputs.features, inputs.rois)
    space, features = training_features(files, settings["space"])
    k = knee(pd.read_csv(inputs.curve)) if settings["k"] == "auto" else settings["k"]
    clusters = fit_streamed(features, k, settings["n_init"], settings["seed"], settings["max_rois"])
    with atomic_write(snakemake.output.kmeans) as path:
        save_kmeans(path, clusters.centroids, clusters.inertia, space)
    logging.info("%d clusters, sum of squared errors %.6g", clusters.k, clusters.inertia)
