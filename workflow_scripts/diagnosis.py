"""The DSC that each step of the pseudo-labels loses, if an oracle did all later steps."""

from umsam.jobs import job

with job(snakemake):
    import json
    import logging
    from pathlib import Path

    import pandas as pd

    from umsam.data.volumes import read_array
    from umsam.evaluation.diagnosis import (
        NOTES,
        REFINED_NOTE,
        diagnosis,
        format_diagnosis,
        measure_case,
        measure_slices,
    )
    from umsam.evaluation.write import write_table
    from umsam.numbers import parse_number

    inputs, settings = snakemake.input, snakemake.params.target
    cases, select = snakemake.params.cases, settings["select"]
    refined_labels = inputs.get("refined_labels") or [None] * len(cases)
    measured, links, pixels, refined, positive = [], {}, {}, [], 0
    files = zip(cases, inputs.masks, inputs.rois, inputs.labels, refined_labels, strict=True)
    for case, masks, rois, path, refined_label in files:
        label = read_array(path) > 0
        pixels[case] = int(label.sum())
        positive += int(label.any(axis=(1, 2)).sum())
        of_case, links[case] = measure_case(masks, rois, label, select)
        measured.append(of_case)
        if refined_label:
            refined.append(measure_slices(case, read_array(refined_label) > 0, label))

    keys = ["case", "slice", "index"]
    assigned = pd.read_csv(inputs.assignments, dtype={"case": str}, keep_default_na=False)
    columns = assigned[[*keys, "cluster", "distance", "attribute"]]
    table = diagnosis(
        pd.concat(measured).merge(columns, on=keys, how="left"),
        pixels,
        positive,
        json.loads(Path(inputs.target).read_text())["cluster"],
        select,
        parse_number(settings["prior"]),
        links,
        pd.concat(refined) if refined else None,
    )
    table.insert(0, "dataset", snakemake.wildcards.dataset)
    notes = [NOTES[0], *([REFINED_NOTE] if refined else []), *NOTES[1:]]
    title = f"{snakemake.wildcards.dataset}: what limits the pseudo-labels"
    logging.info("%s", write_table(snakemake.output, table, format_diagnosis, title, notes))
