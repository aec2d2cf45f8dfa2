# Pretrained models, downloaded only where a data set needs them. No `code`: the checksum states the content.
DOWNLOADS = comparison.downloads()


rule download_weights:
    output:
        ensure("weights/{file}", non_empty=True),
    log:
        "logs/weights/{file}.log",
    benchmark:
        "results/benchmarks/download_weights/{file}.tsv"
    wildcard_constraints:
        file=one_of(DOWNLOADS),
    localrule: True
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=120,
    params:
        url=field_of(DOWNLOADS, "url"),
        sha256=field_of(DOWNLOADS, "sha256"),
    script:
        "../workflow_scripts/download.py"
