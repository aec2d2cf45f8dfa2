"""Decoders that learn from pseudo-labels where the target is, for labels from outside the fold."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import numpy as np
    import torch

    from umsam.data.volumes import read_array
    from umsam.devices import cpu
    from umsam.files import atomic_write
    from umsam.refinement.refinement import means_of_cells, read_seen, refine

    LEAST_AGREEMENT = 0.5
    LEAST_VOLUMES = 6  # of prostates: from 3 the labels were worse or better; from 6 and 12, better
    torch.set_num_threads(snakemake.threads)
    cpu()
    files, side = snakemake.input, snakemake.params.field_of_view
    volumes, shares = {}, {}
    for case, path, features, label in zip(
        snakemake.params.cases, files.volumes, files.sam_features, files.pseudo_labels, strict=True
    ):
        _, view, volumes[case] = read_seen(path, features, side)
        shares[case] = means_of_cells(read_array(label) > 0, view, volumes[case].image.shape[-1])

    found = refine(volumes, shares, snakemake.params.seed, snakemake.params.smooth_z)
    with atomic_write(snakemake.output.networks) as path:
        found.save(path)
    logging.info(
        "%d decoders; a cell is the target's from a probability of %.2f; DSC with the "
        "pseudo-labels %.2f",
        len(found.members),
        1 / (1 + np.exp(-found.threshold)),
        found.agreement,
    )
    if len(volumes) < LEAST_VOLUMES:
        logging.warning(
            "WARNING: the refined labels of %s are learnt from %d training volumes. From fewer "
            "than %d they are as often worse than pseudo-labels (training.targets: pseudo_labels).",
            snakemake.wildcards.dataset,
            len(volumes),
            LEAST_VOLUMES,
        )
    if found.agreement < LEAST_AGREEMENT:
        logging.warning(
            "WARNING: the refined labels of %s show other things than its pseudo-labels (DSC "
            "%.2f): there are too few training volumes to learn from (%d), the target is smaller "
            "than a few cells of SAM's embedding (sam.field_of_view enlarges it), or the "
            "pseudo-labels have nothing in common. Look at both; training.targets: "
            "pseudo_labels goes without.",
            snakemake.wildcards.dataset,
            found.agreement,
            len(volumes),
        )
