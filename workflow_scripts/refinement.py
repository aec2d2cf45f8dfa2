"""Fit decoders on the pseudo-labels of the other training volumes, for the refined labels."""

from umsam.jobs import job

# The fitted weights depend on the number of threads, so it is a setting.
with job(snakemake, threads=snakemake.params.threads):
    import logging

    import numpy as np
    import torch

    from umsam.data.volumes import read_array
    from umsam.devices import prepare_cpu
    from umsam.files import atomic_write
    from umsam.refinement.decoder_input import average_cells, read_decoder_input
    from umsam.refinement.refinement import refine

    MIN_AGREEMENT = 0.5
    MIN_VOLUMES = 6  # prostates: 3 volumes gave better or worse labels, 6 and 12 gave better ones
    torch.set_num_threads(snakemake.params.threads)
    prepare_cpu()
    files, side = snakemake.input, snakemake.params.field_of_view
    volumes, shares = {}, {}
    for case, path, features, label in zip(
        snakemake.params.cases, files.volumes, files.sam_features, files.pseudo_labels, strict=True
    ):
        _, view, volumes[case] = read_decoder_input(path, features, side)
        shares[case] = average_cells(read_array(label) > 0, view, volumes[case].image.shape[-1])

    refinement = refine(volumes, shares, snakemake.params.seed, snakemake.params.smooth_z)
    with atomic_write(snakemake.output.networks) as path:
        refinement.save(path)
    logging.info(
        "%d decoders; the threshold is a probability of %.2f; DSC with the pseudo-labels %.2f",
        len(refinement.members),
        1 / (1 + np.exp(-refinement.threshold)),
        refinement.agreement,
    )
    if len(volumes) < MIN_VOLUMES:
        logging.warning(
            "WARNING: the refined labels of %s are learned from only %d training volumes. With "
            "fewer than %d volumes they can be worse than the pseudo-labels. Add volumes, or set "
            "training.label_source to pseudo_labels.",
            snakemake.wildcards.dataset,
            len(volumes),
            MIN_VOLUMES,
        )
    if refinement.agreement < MIN_AGREEMENT:
        logging.warning(
            "WARNING: the refined labels of %s disagree with its pseudo-labels (DSC %.2f). There "
            "may be too few training volumes (%d), the target may be smaller than a few cells of "
            "SAM's embedding (reduce sam.field_of_view to enlarge it), or the pseudo-labels may "
            "show different structures. Compare both labels; training.label_source: pseudo_labels "
            "skips the refinement.",
            snakemake.wildcards.dataset,
            refinement.agreement,
            len(volumes),
        )
