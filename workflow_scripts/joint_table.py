"""Table 1 of several data sets side by side."""

from umsam.jobs import job

with job(snakemake):
    import logging

    import pandas as pd

    from umsam.evaluation.tables import joint_text
    from umsam.evaluation.write import write_table

    tables = [pd.read_csv(path, dtype={"not_run": str}) for path in snakemake.input]
    table = pd.concat(tables, ignore_index=True)
    notes = ["Rows that were not run: the table of each data set says why."]
    text = write_table(snakemake.output, table, joint_text, "Test volumes of all data sets", notes)
    logging.info("Table 1\n%s", text)
