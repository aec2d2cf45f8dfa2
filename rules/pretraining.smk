# The compact models, trained on procedural images alone. Their checkpoints ship in resources/; these
# rules make them anew. A run that was stopped goes on from the state beside its output. Beside a GPU
# the threads make scenes: `--set-threads pretrain_sam=16` keeps it busy.


def sam_run_number(wildcards):
    """1 for compact_sam_1.pt; compact_sam.pt is the last run's."""
    return int(wildcards.run[1:]) if wildcards.run else len(config["pretraining"]["sam"])


def sam_run(wildcards):
    return config["pretraining"]["sam"][sam_run_number(wildcards) - 1]


def initial_sam(wildcards):
    """Each run starts where the one before it ended; the first, where its settings say, if they do."""
    number = sam_run_number(wildcards)
    if number > 1:
        return f"results/pretraining/compact_sam_{number - 1}.pt"
    initial = sam_run(wildcards).get("initial")
    return ancient(initial) if initial else []


rule pretrain_sam:
    input:
        initial_sam,
    output:
        "results/pretraining/compact_sam{run}.pt",
    log:
        "logs/pretraining/pretrain_sam{run}.log",
    benchmark:
        "results/pretraining/benchmarks/pretrain_sam{run}.tsv"
    wildcard_constraints:
        run=r"|_\d+",
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=480,
        gpu=1,
    params:
        sam=sam_run,
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
        "results/pretraining/compact_sam.pt",
        rules.pretrain_dino.output,
