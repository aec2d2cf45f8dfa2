"""Precision and recall of the three sets of ROIs (Fig. 3a), from the IoU of each ROI."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import pandas as pd

    from umsam.evaluation.precision import precision_table, recall_table
    from umsam.evaluation.tables import precision_text
    from umsam.evaluation.write import write_table
    from umsam.files import atomic_write

    dataset, thresholds = snakemake.wildcards.dataset, snakemake.params.thresholds

    def ious():
        return pd.read_csv(
            snakemake.input.ious,
            dtype={"case": str},
            keep_default_na=False,  # a case may be called NA
            na_values={"iou": [""]},
            chunksize=200_000,
        )

    recall = recall_table(dataset, ious(), thresholds)
    with atomic_write(snakemake.output.recall) as path:
        recall.to_csv(path, index=False, float_format="%.6f")
    table = precision_table(dataset, ious(), thresholds)
    notes = ["Percent of the ROIs; an ROI on a slice without the target is false."]
    title = f"{dataset}: precision of the ROIs, training volumes"
    text = write_table(snakemake.output, table, precision_text, title, notes)
    logging.info("precision\n%s", text)
    logging.info(
        "share of positive slices with an ROI of IoU >= T\n%s",
        recall.pivot(index="set", columns="threshold", values="recall").round(3),
    )
