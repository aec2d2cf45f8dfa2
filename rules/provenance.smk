# What the results were made from, for the paper's supplement and for whoever doubts them.


def raw_files(wildcards):
    """The sample sheet's images and labels."""
    found = samples(wildcards.dataset)
    return [str(file) for sample in found for file in (sample.image, sample.label) if file]


def checkpoints_used(wildcards):
    """SAM's and DINO's, where they are files: one from timm's hub is named in the settings."""
    return [path for path in (sam_weights_of(wildcards), dino_weights_of(wildcards)) if path]


def all_settings(wildcards):
    return settings(wildcards.dataset)


# After the last stage, so that it is written again whenever anything was.
rule provenance:
    input:
        stages="results/{dataset}/tables/stages.csv",
        files=ancient(raw_files),
        weights=ancient(checkpoints_used),
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
        settings=all_settings,
        code=code("provenance"),
    script:
        "../workflow_scripts/provenance.py"
