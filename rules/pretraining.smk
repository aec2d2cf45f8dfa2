# Training of the compact models on generated images. Their checkpoints ship in resources/. A stopped run
# resumes from the state beside its output. With a GPU, the threads generate scenes: use many, for example
# `--set-threads pretrain_sam=16`.


rule pretrain_sam:
    input:
        pretraining.initial_sam,
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
        sam=pretraining.sam,
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
        dino=pretraining.dino,
        threads=2,  # the weights depend on it
        code=code("pretrain_dino"),
    script:
        "../workflow_scripts/pretrain_dino.py"
