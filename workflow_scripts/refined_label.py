"""The refined label of one case: what decoders say that have not learnt from it."""

from umsam.jobs import job

with job(snakemake):
    import logging

    from umsam.data.volumes import write_volume
    from umsam.postprocessing import largest_component
    from umsam.refinement.refinement import load_refinement, read_seen, refined_label

    files, wanted = snakemake.input, snakemake.params
    volume, view, seen = read_seen(files.volume, files.sam_features, wanted.field_of_view)
    refinement = load_refinement(files.networks)
    odds = refinement.odds(snakemake.wildcards.case, seen)
    label = refined_label(odds, refinement.threshold, volume.array.shape[1:], view)
    if wanted.largest_component:
        label = largest_component(label)
    write_volume(snakemake.output.refined_label, label, like=volume)
    positive = label.any(axis=(1, 2)).sum()
    logging.info("%d of %d slices have a refined label", positive, len(label))
