# Official weights of SAM, fetched only where a data set asks for them.
from umsam.data.remote_files import read_remote_files

WEIGHTS = read_remote_files(Path(workflow.basedir) / "resources/weights.tsv")


localrules:
    sam_weights,


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
