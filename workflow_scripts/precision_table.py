"""Write precision and recall of the three sets of ROIs (Fig. 3a) from the IoU of each ROI."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import pandas as pd

    from umsam.evaluation.precision import format_precision, precision_table, recall_table
    from umsam.evaluation.write import write_table
    from umsam.files import atomic_write

    dataset, thresholds = snakemake.wildcards.dataset, snakemake.params.thresholds

    def read_ious():
        return pd.read_csv(
            snakemake.input.ious,
            dtype={"case": str},
            keep_default_na=False,  # a case may be called NA
            na_values={"iou": [""]},
            chunksize=200_000,
        )

    recall = recall_table(dataset, read_ious(), thresholds)
    with atomic_write(snakemake.output.recall) as path:
        recall.to_csv(path, index=False, float_format="%.6f")
    table = precision_table(dataset, read_ious(), thresholds)
    notes = ["Percentage of the ROIs; an ROI on a slice without the target is a false positive."]
    title = f"{dataset}: precision of the ROIs, training volumes"
    text = write_table(snakemake.output, table, format_precision, title, notes)
    logging.info("precision\n%s", text)
    logging.info(
        "fraction of positive slices with an ROI of IoU >= T\n%s",
        recall.pivot(index="set", columns="threshold", values="recall").round(3),
    )
