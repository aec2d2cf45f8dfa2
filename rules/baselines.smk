# The methods of Table 1 that the paper compares with.


def kmeans_weights(wildcards):
    """DINO's checkpoint, for the row that uses its features."""
    return dino_weights_of(wildcards) if wildcards.method == "kmeans_dino" else []


def kmeans_clusters(wildcards):
    """The file that holds K, where it is the knee of the training ROIs' curve."""
    automatic = settings(wildcards.dataset)["clustering"]["k"] == "auto"
    return "results/{dataset}/clusters/target.json" if automatic else []


def kmeans_dino_settings(wildcards):
    """Nothing for intensity: another DINO is no reason to cluster intensities again."""
    return settings(wildcards.dataset)["dino"] if wildcards.method == "kmeans_dino" else None


def kmeans_settings(wildcards):
    """As for the ROIs: the number of clusters and of starts."""
    clustering = settings(wildcards.dataset)["clustering"]
    return {key: clustering[key] for key in ("k", "n_init")}


def kmeans_gpus(wildcards):
    return 1 if wildcards.method == "kmeans_dino" else 0


rule kmeans_baseline:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        label="results/{dataset}/labels/{case}.nii.gz",
        weights=ancient(kmeans_weights),
        target=kmeans_clusters,
    output:
        mask="results/{dataset}/predictions/{method}/{case}.nii.gz",
        time="results/{dataset}/predictions/{method}/{case}.json",
    log:
        "logs/{dataset}/kmeans_baseline/{method}/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/kmeans_baseline/{method}/{case}.tsv"
    wildcard_constraints:
        method="kmeans_(intensity|dino)",
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=6000,
        runtime=60,
        gpu=kmeans_gpus,
    params:
        clustering=kmeans_settings,
        seed=setting("baselines.seed"),
        dino=kmeans_dino_settings,
        code=code("kmeans_baseline"),
    script:
        "../workflow_scripts/kmeans_baseline.py"
