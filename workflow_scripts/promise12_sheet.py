"""Write the sample sheet of PROMISE12, with the paper's split if all labels are available."""

import logging

from umsam.jobs import job

with job(snakemake):
    from umsam.data.promise12 import find_cases, split_cases, write_sheet
    from umsam.files import atomic_write

    cases, description = split_cases(find_cases(snakemake.params.root))
    logging.info(description)
    write_sheet(snakemake.output.sheet, cases)
    with atomic_write(snakemake.output.split) as temporary:
        temporary.write_text(description + "\n")
