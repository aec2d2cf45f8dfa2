# The UNet: trained on pseudo-labels with triple distillation, or on labels; and its predictions (eq. 6-9).


rule train:
    input:
        volumes=stages.training_volumes,
        labels=stages.training_labels,
        sam_features=stages.teacher_features,
        val_volumes=cases.each("results/{dataset}/volumes/{case}.nii.gz", "val", labelled=True),
        val_labels=cases.each("results/{dataset}/labels/{case}.nii.gz", "val", labelled=True),
    output:
        best="results/{dataset}/training/{variant}/seed{seed}/unet.pt",
        last="results/{dataset}/training/{variant}/seed{seed}/last.pt",
        log="results/{dataset}/training/{variant}/seed{seed}/log.csv",
    log:
        "logs/{dataset}/train/{variant}_seed{seed}.log",
    benchmark:
        "results/{dataset}/benchmarks/train/{variant}_seed{seed}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: settings.value("training.threads")
    resources:
        mem_mb=requests.by_training_set(8000, 20),
        runtime=requests.by_training_set(720, 2),
        gpu=1,
    params:
        settings=stages.training,
        field_of_view=stages.teacher_view,
        code=code("train"),
    script:
        "../workflow_scripts/train.py"


rule predict:
    input:
        unet="results/{dataset}/training/{variant}/seed{seed}/unet.pt",
        volume="results/{dataset}/volumes/{case}.nii.gz",
    output:
        mask="results/{dataset}/predictions/{variant}_seed{seed}/{case}.nii.gz",
        time="results/{dataset}/predictions/{variant}_seed{seed}/{case}.json",
    log:
        "logs/{dataset}/predict/{variant}_seed{seed}/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/predict/{variant}_seed{seed}/{case}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=requests.by_volume(2500, 60),
        runtime=requests.by_volume(5, 1),
        gpu=1,
    params:
        smooth_z=settings.value("prediction.smooth_z"),
        largest_component=settings.value("prediction.largest_component"),
        code=code("predict"),
    script:
        "../workflow_scripts/predict.py"


# The same with the last epoch, which no validation label chose.
use rule predict as predict_last with:
    input:
        unet="results/{dataset}/training/{variant}/seed{seed}/last.pt",
        volume="results/{dataset}/volumes/{case}.nii.gz",
    output:
        mask="results/{dataset}/predictions/{variant}_seed{seed}_last/{case}.nii.gz",
        time="results/{dataset}/predictions/{variant}_seed{seed}_last/{case}.json",
    log:
        "logs/{dataset}/predict/{variant}_seed{seed}_last/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/predict/{variant}_seed{seed}_last/{case}.tsv"
