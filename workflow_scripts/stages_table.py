"""Write the cost of each stage: jobs, wall time and peak memory."""

from umsam.jobs import job

with job(snakemake):
    import logging

    from umsam.evaluation.stages import stages_table
    from umsam.files import atomic_write

    table = stages_table(snakemake.wildcards.dataset, snakemake.params.folder)
    with atomic_write(snakemake.output[0]) as path:
        table.to_csv(path, index=False)
    logging.info("stages:\n%s", table.to_string(index=False))
