# The comparison methods of Table 1: one job per volume and method.


rule sam_prompts:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        label="results/{dataset}/labels/{case}.nii.gz",
        sam_weights=ancient(weights.sam),
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
        mem_mb=requests.by_volume(12000, 100),
        runtime=requests.by_volume(15, 10),
        gpu=1,
    params:
        sam=weights.sam_identity,
        scale=comparison.prompt_scale,
        seed=comparison.click_seed,
        code=code("sam_prompts"),
    script:
        "../workflow_scripts/sam_prompts.py"


rule sam2_video:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        label="results/{dataset}/labels/{case}.nii.gz",
        weights=ancient(weights.files("sam2")),
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
        mem_mb=requests.by_volume(12000, 200),
        runtime=requests.by_volume(30, 20),
        gpu=1,
    params:
        sha256=weights.checksums("sam2"),
        code=code("sam2_video"),
    script:
        "../workflow_scripts/sam2_video.py"


rule cryosam:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        label="results/{dataset}/labels/{case}.nii.gz",
        sam_weights=ancient(weights.sam),
        dino_weights=ancient(comparison.cryosam_weights),
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
        mem_mb=requests.by_volume(12000, 200),
        runtime=requests.by_volume(30, 20),
        gpu=1,
    params:
        sam=weights.sam_identity,
        dino=comparison.cryosam_dino,
        sha256=comparison.cryosam_checksums,
        settings=comparison.cryosam_settings,
        code=code("cryosam"),
    script:
        "../workflow_scripts/cryosam.py"


rule kmeans_baseline:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        label="results/{dataset}/labels/{case}.nii.gz",
        weights=ancient(comparison.kmeans_weights),
        kmeans=comparison.kmeans_clusters,
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
    threads: 1
    resources:
        mem_mb=requests.by_volume(4000, 200),
        runtime=requests.by_volume(10, 5),
        gpu=comparison.kmeans_gpus,
    params:
        clustering=comparison.kmeans_settings,
        seed=settings.value("baselines.seed"),
        dino=comparison.kmeans_dino,
        code=code("kmeans_baseline"),
    script:
        "../workflow_scripts/kmeans_baseline.py"
