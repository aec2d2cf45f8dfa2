# nnU-Net, if it is installed: export of the data set, training, prediction.


# The labelled training cases in nnU-Net's format, which does not need nnU-Net. Test volumes are left out,
# because each new one would retrain the network. The number in the folder's name is required.
rule nnunet_export:
    input:
        images=cases.each("results/{dataset}/volumes/{case}.nii.gz", "train", labelled=True),
        labels=cases.each("results/{dataset}/labels/{case}.nii.gz", "train", labelled=True),
    output:
        directory("results/{dataset}/nnunet/raw/Dataset501_{dataset}"),
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
        settings=settings.value("baselines.nnunet"),
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
        mem_mb=requests.by_volume(8000, 200),
        runtime=requests.by_volume(15, 10),
        gpu=1,
    params:
        code=code("nnunet_predict"),
    script:
        "../workflow_scripts/nnunet_predict.py"
