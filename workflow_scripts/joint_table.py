"""Write Table 1 of several data sets side by side."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import pandas as pd

    from umsam.evaluation.comparison import format_joint_comparison
    from umsam.evaluation.write import write_table

    tables = [pd.read_csv(path, dtype={"not_run": str}) for path in snakemake.input]
    table = pd.concat(tables, ignore_index=True)
    notes = ["The table of each data set states why a row was not run."]
    title = "Test volumes of all data sets"
    text = write_table(snakemake.output, table, format_joint_comparison, title, notes)
    logging.info("Table 1\n%s", text)
