# The methods of Table 1 that the paper compares with: one job a volume, its slices batched inside.
from umsam.planning.baselines import box_scale


def kmeans_weights(wildcards):
    """DINO's checkpoint, for the row that uses its features."""
    return dino_weights_of(wildcards) if wildcards.method == "kmeans_dino" else []


def kmeans_clusters(wildcards):
    """The file that holds K, where it is the knee of the training ROIs' curve."""
    automatic = settings(wildcards.dataset)["clustering"]["k"] == "auto"
    return "results/{dataset}/clusters/target.json" if automatic else []


def kmeans_dino_settings(wildcards):
    """Nothing for intensity: another DINO is no reason to cluster intensities again."""
    return dino_identity(wildcards) if wildcards.method == "kmeans_dino" else None


def kmeans_settings(wildcards):
    """As for the ROIs: the number of clusters and of starts."""
    clustering = settings(wildcards.dataset)["clustering"]
    return {key: clustering[key] for key in ("k", "n_init")}


def kmeans_gpus(wildcards):
    return 1 if wildcards.method == "kmeans_dino" else 0


def prompt_scale(wildcards):
    """How much the boxes are enlarged; none for clicks."""
    return box_scale(wildcards.method)


def click_seed(wildcards):
    """The seed of the background clicks; boxes have none."""
    return settings(wildcards.dataset)["baselines"]["seed"] if wildcards.method == "sam_point" else None


rule sam_prompts:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        label="results/{dataset}/labels/{case}.nii.gz",
        sam_weights=ancient(sam_weights_of),
    output:
        mask="results/{dataset}/predictions/{method}/{case}.nii.gz",
        time="results/{dataset}/predictions/{method}/{case}.json",
    log:
        "logs/{dataset}/sam_prompts/{method}/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/sam_prompts/{method}/{case}.tsv"
    wildcard_constraints:
        method=r"sam_(point|box_[0-9.]+)",
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=by_size(12000, 100),
        runtime=by_size(15, 10),
        gpu=1,
    params:
        sam=sam_identity,
        scale=prompt_scale,
        seed=click_seed,
        code=code("sam_prompts"),
    script:
        "../workflow_scripts/sam_prompts.py"


rule sam2_video:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        label="results/{dataset}/labels/{case}.nii.gz",
        weights=ancient(weights_of("sam2")),
    output:
        mask="results/{dataset}/predictions/{method}/{case}.nii.gz",
        time="results/{dataset}/predictions/{method}/{case}.json",
    log:
        "logs/{dataset}/sam2_video/{method}/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/sam2_video/{method}/{case}.tsv"
    wildcard_constraints:
        method="sam2_(point|box)",
    conda:
        "../envs/baselines.yaml"
    threads: 1
    resources:
        mem_mb=by_size(12000, 200),
        runtime=by_size(30, 20),
        gpu=1,
    params:
        sha256=checksums_of("sam2"),
        code=code("sam2_video"),
    script:
        "../workflow_scripts/sam2_video.py"


def cryosam_dino(wildcards):
    """The extractor of CryoSAM: the data set's own, or DINOv2 as in the original."""
    own = dino_identity(wildcards)
    if cryosam_features(wildcards.dataset) == "own":
        return own
    model = weights_part(wildcards.dataset, "dinov2").model.split("/")[-1]
    return {"model": model, "sha256": None, "image_size": 518, "batch_size": own["batch_size"]}


def cryosam_weights(wildcards):
    """Its checkpoint."""
    own = cryosam_features(wildcards.dataset) == "own"
    return dino_weights_of(wildcards) if own else weights_of("dinov2")(wildcards)[0]


def cryosam_checksums(wildcards):
    """Checksums of DINOv2; the data set's own extractor has its own check."""
    own = cryosam_features(wildcards.dataset) == "own"
    return None if own else checksums_of("dinov2")(wildcards)


def cryosam_settings(wildcards):
    """All but the name of the extractor, which is in its own parameter."""
    chosen = settings(wildcards.dataset)["baselines"]["cryosam"]
    return {key: value for key, value in chosen.items() if key != "features"}


rule cryosam:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        label="results/{dataset}/labels/{case}.nii.gz",
        sam_weights=ancient(sam_weights_of),
        dino_weights=ancient(cryosam_weights),
    output:
        mask="results/{dataset}/predictions/cryosam/{case}.nii.gz",
        time="results/{dataset}/predictions/cryosam/{case}.json",
    log:
        "logs/{dataset}/cryosam/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/cryosam/{case}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=by_size(12000, 200),
        runtime=by_size(30, 20),
        gpu=1,
    params:
        sam=sam_identity,
        dino=cryosam_dino,
        sha256=cryosam_checksums,
        settings=cryosam_settings,
        code=code("cryosam"),
    script:
        "../workflow_scripts/cryosam.py"


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
        mem_mb=by_size(4000, 200),
        runtime=by_size(10, 5),
        gpu=kmeans_gpus,
    params:
        clustering=kmeans_settings,
        seed=setting("baselines.seed"),
        dino=kmeans_dino_settings,
        code=code("kmeans_baseline"),
    script:
        "../workflow_scripts/kmeans_baseline.py"
