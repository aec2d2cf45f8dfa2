"""Draw the refined label of one case, with the decoders that were not trained on it."""

from umsam.jobs import job

with job(snakemake):
    import logging

    from umsam.data.volumes import write_volume
    from umsam.postprocessing import largest_component
    from umsam.refinement.decoder_input import read_decoder_input
    from umsam.refinement.refinement import load_refinement, threshold_logits

    files, params = snakemake.input, snakemake.params
    volume, view, decoder_input = read_decoder_input(
        files.volume, files.sam_features, params.field_of_view
    )
    refinement = load_refinement(files.networks)
    logits = refinement.predict_logits(snakemake.wildcards.case, decoder_input)
    label = threshold_logits(logits, refinement.threshold, volume.array.shape[1:], view)
    if params.largest_component:
        label = largest_component(label)
    write_volume(snakemake.output.refined_label, label, like=volume)
    positive = label.any(axis=(1, 2)).sum()
    logging.info("%d of %d slices have a refined label", positive, len(label))
