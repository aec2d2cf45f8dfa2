"""Write Table 1, every method on the labelled test volumes, as CSV, Markdown and LaTeX."""

from umsam.jobs import job

with job(snakemake):
    import logging

    from umsam.evaluation.case_metrics import read_metrics
    from umsam.evaluation.comparison import comparison_notes, comparison_table, format_comparison
    from umsam.evaluation.write import write_table
    from umsam.planning.baselines import Row

    rows = [Row(**row) for row in snakemake.params.rows]
    metrics = read_metrics(snakemake.input.metrics)
    table = comparison_table(snakemake.wildcards.dataset, rows, metrics)
    notes = comparison_notes(rows, metrics, snakemake.params.unlabelled)
    title = f"{snakemake.wildcards.dataset}: test volumes"
    text = write_table(snakemake.output, table, format_comparison, title, notes)
    logging.info("Table 1\n%s", text)
