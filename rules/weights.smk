# Official weights of SAM, fetched only where a data set asks for them, and those of the comparison.
from umsam.planning.remote_files import RemoteFile, read_remote_files

WEIGHTS = read_remote_files(Path(workflow.basedir) / "resources/weights.tsv")


# Path under weights/ -> source, for every file of the models that the run's rows need.
HUB_FILES = {
    f"{part.target.name}/{file}": RemoteFile(f"{part.source}/{file}", sha256, None)
    for part in parts_of_run()
    for file, sha256 in part.files.items()
}


localrules:
    sam_weights,
    hub_weights,


rule sam_weights:
    output:
        ensure("weights/{file}", sha256=of_file(WEIGHTS, "sha256")),
    log:
        "logs/weights/{file}.log",
    benchmark:
        "results/benchmarks/sam_weights/{file}.tsv"
    wildcard_constraints:
        file=one_of(WEIGHTS),
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=120,
    params:
        url=of_file(WEIGHTS, "url"),
        sha256=of_file(WEIGHTS, "sha256"),
    script:
        "../workflow_scripts/download.py"


use rule sam_weights as hub_weights with:
    output:
        ensure("weights/{file}", non_empty=True),
    log:
        "logs/weights/{file}.log",
    benchmark:
        "results/benchmarks/hub_weights/{file}.tsv"
    wildcard_constraints:
        file=one_of(HUB_FILES),
    params:
        url=of_file(HUB_FILES, "url"),
        sha256=of_file(HUB_FILES, "sha256"),
