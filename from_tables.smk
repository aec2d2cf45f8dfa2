# Tables and figures from the tables of a run, on a machine that has neither its images nor its weights:
# `snakemake --cores 1 --snakefile from_tables.smk --forceall`. It needs tables/, metrics/,
# clusters/sse.csv and clusters/target.json of results/{dataset}, and the sample sheet of the data.
from snakemake.utils import min_version

min_version("9.0")

TABLES_ONLY = True


include: "rules/common.smk"
include: "rules/evaluation.smk"
include: "rules/figures.smk"


wildcard_constraints:
    dataset="[A-Za-z0-9][A-Za-z0-9_-]*",


rule all:
    default_target: True
    input:
        targets.from_tables,
    localrule: True
