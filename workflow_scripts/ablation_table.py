"""Write the ablation of the distillation (Fig. 3b) on the labelled validation volumes."""

from umsam.jobs import job

with job(snakemake):
    import logging

    from umsam.evaluation.ablation import ablation_table, format_ablation
    from umsam.evaluation.case_metrics import read_metrics
    from umsam.evaluation.write import write_table

    table = ablation_table(
        snakemake.wildcards.dataset, snakemake.params.methods, read_metrics(snakemake.input.metrics)
    )
    notes = ["Mean ± sample standard deviation over seeds and volumes (0 for a single value)."]
    if snakemake.params.chosen_by_labels:
        notes.append("Each network is from the epoch with the best DSC on these same volumes.")
    title = f"{snakemake.wildcards.dataset}: validation volumes"
    text = write_table(snakemake.output, table, format_ablation, title, notes)
    logging.info("ablation\n%s", text)
