"""Precision and recall of the three sets of ROIs on the labelled training volumes (Fig. 3a)."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import pandas as pd

    from umsam.evaluation.case_ious import case_ious
    from umsam.evaluation.precision import precision_table, recall_table
    from umsam.evaluation.tables import precision_text
    from umsam.evaluation.write import write_table
    from umsam.files import whole
    from umsam.jobs import progress

    dataset, thresholds = snakemake.wildcards.dataset, snakemake.params.thresholds
    files = zip(
        snakemake.input.masks,
        snakemake.input.rois,
        snakemake.input.pseudo_labels,
        snakemake.input.labels,
        strict=True,
    )
    each = progress(files, len(snakemake.input.labels), "volumes")
    ious = pd.concat([case_ious(*paths) for paths in each], ignore_index=True)
    recall = recall_table(dataset, ious, thresholds)
    with whole(snakemake.output.recall) as path:
        recall.to_csv(path, index=False, float_format="%.6f")
    table = precision_table(dataset, ious, thresholds)
    notes = ["Percent of the ROIs; an ROI on a slice without the target is false."]
    title = f"{dataset}: precision of the ROIs, training volumes"
    text = write_table(snakemake.output, table, precision_text, title, notes)
    logging.info("precision\n%s", text)
    logging.info(
        "share of positive slices with an ROI of IoU >= T\n%s",
        recall.pivot(index="set", columns="threshold", values="recall").round(3),
    )
