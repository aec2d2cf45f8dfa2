# What the results were made from: code, software, settings, threads, and checksums of data and weights.


# It depends on the last stage, so that any new result renews it.
rule provenance:
    input:
        stages="results/{dataset}/tables/stages.csv",
        files=ancient(cases.source_files),
        weights=ancient(weights.used),
    output:
        provenance=report(
            "results/{dataset}/provenance.json",
            caption="../captions/provenance.rst",
            category="{dataset}",
            labels={"result": "Provenance"},
        ),
    log:
        "logs/{dataset}/provenance.log",
    benchmark:
        "results/{dataset}/benchmarks/provenance.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=60,
    params:
        settings=stages.all_settings,
        threads=stages.threads,
        code=code("provenance"),
    script:
        "../workflow_scripts/provenance.py"
