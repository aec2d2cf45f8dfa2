# Tables and figures again from the tables of a run, where its images, weights and records are not:
# `snakemake --cores 1 --snakefile from_tables.smk --forceall`. Of results/{dataset} it needs tables/,
# metrics/, clusters/sse.csv and clusters/target.json, and of the data the sample sheet alone.
from types import SimpleNamespace

from snakemake.utils import min_version

min_version("9.0")


configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/resources.smk"
include: "rules/evaluation.smk"
include: "rules/figures.smk"


wildcard_constraints:
    dataset="[A-Za-z0-9][A-Za-z0-9_-]*",


why_not_here = why_not


def why_not(dataset, method):
    """A row whose metrics are here was run, whatever is missing on this machine."""
    there = Path(f"results/{dataset}/metrics/{method}.csv").is_file()
    return "" if there else why_not_here(dataset, method)


def shipped(dataset):
    """Product -> the tables that it is made of."""
    folder = f"results/{dataset}"
    return {
        "table1": compared_metrics(SimpleNamespace(dataset=dataset)),
        "fig3a": [f"{folder}/tables/precision.csv"],
        "fig3b": [f"{folder}/tables/ablation.csv"],
        "sse": [f"{folder}/clusters/sse.csv", f"{folder}/clusters/target.json"],
    }


# Asked for here: Snakemake would leave a figure that it finds as it is, and not name the table.
def remade(wildcards):
    """The products of the run's data sets, once all of their tables are there."""
    made, missing = joint_table(wildcards), {}
    for dataset in config["run"]:
        for name, tables in shipped(dataset).items():
            files = products(dataset, name)
            made += files
            missing |= {table: name for table in tables if files and not Path(table).is_file()}
    if missing:
        raise WorkflowError(
            f"{len(missing)} table(s) of the run are not here: "
            f"{', '.join(f'{table} ({name})' for table, name in missing.items())}. "
            "Copy them from where it ran, or run the pipeline itself: snakemake --cores 8."
        )
    return made


rule all:
    default_target: True
    input:
        remade,


localrules:
    all,
