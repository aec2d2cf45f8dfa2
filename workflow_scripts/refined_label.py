"""The refined label of one case: what decoders say that have not learnt from it."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import numpy as np

    from umsam.components import largest_component
    from umsam.data.volumes import read_volume, write_volume
    from umsam.pseudo_labels.field_of_view import view_of
    from umsam.pseudo_labels.refinement import (
        load_refinement,
        log_odds,
        refined_label,
        seen_volume,
    )

    volume = read_volume(snakemake.input.volume)
    shape = volume.array.shape[1:]
    view = view_of(shape, volume.spacing[1:], snakemake.params.field_of_view)
    refinement = load_refinement(snakemake.input.networks)
    features = np.load(snakemake.input.sam_features, mmap_mode="r")
    seen = seen_volume(volume, features, view)
    odds = log_odds(refinement.members, snakemake.wildcards.case, seen)
    label = refined_label(odds, refinement.threshold, shape, view)
    if snakemake.params.largest_component:
        label = largest_component(label)
    write_volume(snakemake.output.refined_label, label, like=volume)
    positive = label.any(axis=(1, 2)).sum()
    logging.info("%d of %d slices have a refined label", positive, len(label))
