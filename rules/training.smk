# The task-specific UNet: trained on pseudo-labels with triple distillation (or on labels), applied.
from umsam.models.sam import FEATURE_UNITS
from umsam.training.variants import VARIANTS, settings_of


def training_settings(wildcards):
    """Only what the variant uses: a new lambda_1 trains no variant again that has no such term.

    An epoch is validated on what will be predicted: smoothed, or with one component, as there.
    """
    chosen = settings(wildcards.dataset)
    training = chosen["training"] | chosen["prediction"]
    if training["feature_unit"] is None:
        training["feature_unit"] = FEATURE_UNITS[chosen["sam"]["model"]]
    return settings_of(wildcards.variant, training)


def training_files(pattern, wildcards):
    """One file per training case; for the supervised variant, of the labelled ones."""
    labelled = True if VARIANTS[wildcards.variant].supervised else None
    return per_case(pattern, "train", labelled)(wildcards)


def training_volumes(wildcards):
    return training_files("results/{dataset}/volumes/{case}.nii.gz", wildcards)


def training_targets(wildcards):
    unsupervised = setting("training.targets")(wildcards)
    folder = "labels" if VARIANTS[wildcards.variant].supervised else unsupervised
    return training_files(f"results/{{dataset}}/{folder}/{{case}}.nii.gz", wildcards)


def teacher_features(wildcards):
    """SAM's features, for the variants that distill."""
    if not VARIANTS[wildcards.variant].distills:
        return []
    return training_files("results/{dataset}/sam_features/{case}.npy", wildcards)


def teacher_view(wildcards):
    """The part of a slice that SAM saw, for the variants that distill."""
    distills = VARIANTS[wildcards.variant].distills
    return setting("sam.field_of_view")(wildcards) if distills else None


rule train:
    input:
        volumes=training_volumes,
        targets=training_targets,
        sam_features=teacher_features,
        val_volumes=per_case("results/{dataset}/volumes/{case}.nii.gz", "val", labelled=True),
        val_labels=per_case("results/{dataset}/labels/{case}.nii.gz", "val", labelled=True),
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
    threads: 4
    resources:
        mem_mb=by_size(8000, 20, training_volumes_in_all),
        runtime=by_size(720, 2, training_volumes_in_all),
        gpu=1,
    params:
        settings=training_settings,
        field_of_view=teacher_view,
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
        mem_mb=by_size(2500, 60),
        runtime=by_size(5, 1),
        gpu=1,
    params:
        smooth_z=setting("prediction.smooth_z"),
        largest_component=setting("prediction.largest_component"),
        code=code("predict"),
    script:
        "../workflow_scripts/predict.py"


# The same from the last epoch, which no validation label chose.
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
