# nnU-Net, where it is installed: a data set in its format, its training, its predictions.
NNUNET_DATASET = "Dataset501_{dataset}"  # nnU-Net wants the number and the name


# The labelled training cases in nnU-Net's format: made whether or not nnU-Net is installed. Test
# volumes are not among them, or each new one would train anew.
rule nnunet_export:
    input:
        images=per_case("results/{dataset}/volumes/{case}.nii.gz", "train", labelled=True),
        labels=per_case("results/{dataset}/labels/{case}.nii.gz", "train", labelled=True),
    output:
        directory(f"results/{{dataset}}/nnunet/raw/{NNUNET_DATASET}"),
    log:
        "logs/{dataset}/nnunet_export.log",
    benchmark:
        "results/{dataset}/benchmarks/nnunet_export.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        code=code("nnunet_export"),
    script:
        "../workflow_scripts/nnunet_export.py"


rule nnunet_train:
    input:
        rules.nnunet_export.output,
    output:
        directory("results/{dataset}/nnunet/model"),
    log:
        "logs/{dataset}/nnunet_train.log",
    benchmark:
        "results/{dataset}/benchmarks/nnunet_train.tsv"
    conda:
        "../envs/baselines.yaml"
    threads: 8
    resources:
        mem_mb=32000,
        runtime=2880,
        gpu=1,
    params:
        settings=setting("baselines.nnunet"),
        code=code("nnunet_train"),
    script:
        "../workflow_scripts/nnunet_train.py"


rule nnunet_predict:
    input:
        model="results/{dataset}/nnunet/model",
        volume="results/{dataset}/volumes/{case}.nii.gz",
    output:
        mask="results/{dataset}/predictions/nnunet/{case}.nii.gz",
        time="results/{dataset}/predictions/nnunet/{case}.json",
    log:
        "logs/{dataset}/nnunet_predict/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/nnunet_predict/{case}.tsv"
    conda:
        "../envs/baselines.yaml"
    threads: 2
    resources:
        mem_mb=by_size(8000, 200),
        runtime=by_size(15, 10),
        gpu=1,
    params:
        code=code("nnunet_predict"),
    script:
        "../workflow_scripts/nnunet_predict.py"
