# The compact models, trained on procedural images alone. Their checkpoints ship in resources/; these
# rules make them anew. A run that was stopped goes on from the state beside its output. Beside a GPU
# the threads make scenes: `--set-threads pretrain_sam=16` keeps it busy.


def initial_sam(wildcards):
    """The checkpoint that the training starts from, where the settings name one."""
    initial = config["pretraining"]["sam"].get("initial")
    return ancient(initial) if initial else []


rule pretrain_sam:
    input:
        initial_sam,
    output:
        "results/pretraining/compact_sam.pt",
    log:
        "logs/pretraining/pretrain_sam.log",
    benchmark:
        "results/pretraining/benchmarks/pretrain_sam.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=480,
        gpu=1,
    params:
        sam=config["pretraining"]["sam"],
        code=code("pretrain_sam"),
    script:
        "../workflow_scripts/pretrain_sam.py"


rule pretrain_dino:
    output:
        "results/pretraining/compact_dino.pt",
    log:
        "logs/pretraining/pretrain_dino.log",
    benchmark:
        "results/pretraining/benchmarks/pretrain_dino.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=480,
        gpu=1,
    params:
        dino=config["pretraining"]["dino"],
        code=code("pretrain_dino"),
    script:
        "../workflow_scripts/pretrain_dino.py"


rule pretraining:
    input:
        rules.pretrain_sam.output,
        rules.pretrain_dino.output,
