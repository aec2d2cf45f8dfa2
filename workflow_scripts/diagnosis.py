"""The DSC that each step of the pseudo-labels loses, if an oracle did all later steps."""

from umsam.jobs import job

with job(snakemake):
    import json
    import logging
    from pathlib import Path

    import pandas as pd

    from umsam.data.masks import read_slice_masks, slice_file
    from umsam.data.volumes import read_array
    from umsam.evaluation.diagnosis import (
        diagnosis,
        format_diagnosis,
        measure_rois,
        measure_slices,
    )
    from umsam.evaluation.write import write_table
    from umsam.numbers import parse_number
    from umsam.pseudo_labels.pseudo_labels import read_links
    from umsam.pseudo_labels.shape_priors import read_rois

    inputs, settings = snakemake.input, snakemake.params.target
    target = json.loads(Path(inputs.target).read_text())["cluster"]
    assigned = pd.read_csv(inputs.assignments, dtype={"case": str}, keep_default_na=False)
    select, prior = settings["select"], parse_number(settings["prior"])
    tables, refined, links, pixels, positive = [], [], {}, {}, 0
    refined_labels = inputs.get("refined_labels", [None] * len(inputs.labels))
    for case, masks, path, label, refined_label in zip(
        snakemake.params.cases,
        inputs.masks,
        inputs.rois,
        inputs.labels,
        refined_labels,
        strict=True,
    ):
        label = read_array(label) > 0
        pixels[case] = int(label.sum())
        positive += int(label.any(axis=(1, 2)).sum())
        rois = read_rois(path)
        links[case] = read_links(masks, rois[rois["valid"]]) if select == "continuous" else {}
        for z, of_slice in rois.groupby("slice"):
            tables.append(
                measure_rois(read_slice_masks(slice_file(masks, z)).masks, of_slice, label[z])
            )
        if refined_label:
            refined.append(measure_slices(case, read_array(refined_label) > 0, label))
    keys = ["case", "slice", "index"]
    rois = pd.concat(tables).merge(
        assigned[[*keys, "cluster", "distance", "attribute"]], on=keys, how="left"
    )
    of_slices = pd.concat(refined) if refined else None
    table = diagnosis(rois, pixels, positive, target, select, prior, links, of_slices)
    table.insert(0, "dataset", snakemake.wildcards.dataset)
    notes = [
        "Each row is the DSC of the training volumes if an oracle that sees the labels did all "
        "later steps: it takes the best cluster and the best ROI of each slice. The row of the "
        "target cluster is the DSC of the pseudo-labels.",
        "The largest loss shows which setting to change. Fig. 3b and Table 1 show the effect of "
        "training.",
    ]
    if of_slices is not None:
        notes.insert(1, "Refined labels are learned from the pseudo-labels of the other volumes.")
    title = f"{snakemake.wildcards.dataset}: what limits the pseudo-labels"
    logging.info("%s", write_table(snakemake.output, table, format_diagnosis, title, notes))
