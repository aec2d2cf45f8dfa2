"""PROMISE12's sample sheet: the paper's split where the labels are there, else a labelled one."""

import logging

from umsam.jobs import job

with job(snakemake):
    from umsam.data.promise12 import find_cases, split_cases, write_sheet
    from umsam.files import atomic_write

    cases, which = split_cases(find_cases(snakemake.params.root))
    logging.info(which)
    write_sheet(snakemake.output.sheet, cases)
    with atomic_write(snakemake.output.split) as temporary:
        temporary.write_text(which + "\n")
