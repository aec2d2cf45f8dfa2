# Refined labels: each volume is labelled by decoders trained on the other volumes. Not in the paper.


rule refinement:
    input:
        volumes=cases.each("results/{dataset}/volumes/{case}.nii.gz", "train"),
        sam_features=cases.each("results/{dataset}/sam_features/{case}.npy", "train"),
        pseudo_labels=cases.each("results/{dataset}/pseudo_labels/{case}.nii.gz", "train"),
    output:
        networks="results/{dataset}/refinement/networks.pt",
    log:
        "logs/{dataset}/refinement.log",
    benchmark:
        "results/{dataset}/benchmarks/refinement.tsv"
    conda:
        "../envs/torch.yaml"
    threads: settings.value("training.threads")
    resources:
        mem_mb=requests.by_training_set(4000, 10),
        runtime=requests.by_training_set(30, 1),
    params:
        cases=cases.training_names,
        threads=settings.value("training.threads"),
        seed=settings.value("clustering.seed"),
        smooth_z=settings.value("prediction.smooth_z"),
        field_of_view=settings.value("sam.field_of_view"),
        code=code("refinement"),
    script:
        "../workflow_scripts/refinement.py"


rule refined_label:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        sam_features="results/{dataset}/sam_features/{case}.npy",
        networks="results/{dataset}/refinement/networks.pt",
    output:
        refined_label="results/{dataset}/refined_labels/{case}.nii.gz",
    log:
        "logs/{dataset}/refined_label/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/refined_label/{case}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=requests.by_volume(2000, 50),
        runtime=requests.by_volume(5, 1),
    params:
        field_of_view=settings.value("sam.field_of_view"),
        largest_component=settings.value("prediction.largest_component"),
        code=code("refined_label"),
    script:
        "../workflow_scripts/refined_label.py"
