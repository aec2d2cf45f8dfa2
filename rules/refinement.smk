# Pseudo-labels learnt once more, from SAM's features and images, across volumes: for `training.targets`.


rule refinement:
    input:
        volumes=per_case("results/{dataset}/volumes/{case}.nii.gz", "train"),
        sam_features=per_case("results/{dataset}/sam_features/{case}.npy", "train"),
        pseudo_labels=per_case("results/{dataset}/pseudo_labels/{case}.nii.gz", "train"),
    output:
        networks="results/{dataset}/refinement/networks.pt",
    log:
        "logs/{dataset}/refinement.log",
    benchmark:
        "results/{dataset}/benchmarks/refinement.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=by_size(4000, 10, training_volumes_in_all),
        runtime=by_size(30, 1, training_volumes_in_all),
    params:
        cases=training_case_names,
        seed=setting("clustering.seed"),
        smooth_z=setting("prediction.smooth_z"),
        field_of_view=setting("sam.field_of_view"),
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
        mem_mb=by_size(2000, 50),
        runtime=by_size(5, 1),
    params:
        field_of_view=setting("sam.field_of_view"),
        largest_component=setting("prediction.largest_component"),
        code=code("refined_label"),
    script:
        "../workflow_scripts/refined_label.py"
