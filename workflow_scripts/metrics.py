"""Compute DSC and ASSD of one method on every labelled validation and test volume."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import pandas as pd

    from umsam.evaluation.case_metrics import METRIC_COLUMNS, case_metrics
    from umsam.files import atomic_write

    rows = [
        case_metrics(split, prediction, label)
        for split in ("val", "test")
        for prediction, label in zip(
            snakemake.input.get(split, []), snakemake.input.get(f"{split}_labels", []), strict=True
        )
    ]
    table = pd.DataFrame(rows, columns=METRIC_COLUMNS)
    with atomic_write(snakemake.output[0]) as path:
        table.to_csv(path, index=False, float_format="%.6f")
    logging.info("mean over the volumes:\n%s", table.groupby("split")[["dsc", "assd_mm"]].mean())
