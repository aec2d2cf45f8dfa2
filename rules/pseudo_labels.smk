# Pseudo-labels from SAM without annotation: everything mode, shape priors, ROI clustering (eq. 1-5).


def feature_space(wildcards):
    """What K-means sees of the pooled features."""
    clustering = settings(wildcards.dataset)["clustering"]
    return {key: clustering[key] for key in ("l2_normalise", "position", "centre", "whiten")}


def sse_settings(wildcards):
    """The curve does not depend on the K in use."""
    clustering = settings(wildcards.dataset)["clustering"]
    chosen = {key: clustering[key] for key in ("n_init", "seed", "sse_k", "sse_rois")}
    return chosen | {"space": feature_space(wildcards)}


def kmeans_settings_of_rois(wildcards):
    """The range of the curve reaches K-means through the curve."""
    clustering = settings(wildcards.dataset)["clustering"]
    chosen = {key: clustering[key] for key in ("k", "n_init", "seed", "max_rois")}
    return chosen | {"space": feature_space(wildcards)}


def target_settings(wildcards):
    """How a slice's ROI is chosen within the target cluster changes no cluster."""
    target = settings(wildcards.dataset)["target"]
    return {key: target[key] for key in ("attribute", "prior", "near_tie", "choose_by")}


def masks_as_evidence(wildcards):
    """The masks of the training cases, where not the prior alone chooses the cluster."""
    if setting("target.choose_by")(wildcards) != "evidence":
        return {}
    return {"masks": per_case("results/{dataset}/sam_masks/{case}", "train")(wildcards)}


def training_case_names(wildcards):
    return cases(wildcards.dataset, "train")


def pools(wildcards, model):
    """Whether the ROIs' features are pooled from a map of the model, sam or dino."""
    return setting("clustering.features")(wildcards) in (model, "both")


def sam_source(wildcards):
    """The embedding that SAM left, where features are pooled from it."""
    embedding = f"results/{wildcards.dataset}/sam_features/{wildcards.case}.npy"
    return {"sam_features": embedding} if pools(wildcards, "sam") else {}


def feature_source(wildcards):
    """What the ROIs' features are pooled from: SAM's embedding, DINO's checkpoint."""
    weights = dino_weights_of(wildcards) if pools(wildcards, "dino") else None
    return sam_source(wildcards) | ({"dino_weights": ancient(weights)} if weights else {})


def dino_settings(wildcards):
    """Nothing where the features are SAM's: another DINO is then no reason to pool again."""
    return dino_identity(wildcards) if pools(wildcards, "dino") else None


def view_of_features(wildcards):
    """The part of a slice that SAM's embedding shows; DINO sees all of it."""
    return setting("sam.field_of_view")(wildcards) if pools(wildcards, "sam") else None


def dino_gpus(wildcards):
    return 1 if pools(wildcards, "dino") else 0


# Weights are ancient, for a fresh clone sets all time stamps anew: what is in them is a parameter.
rule everything_mode:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        sam_weights=ancient(sam_weights_of),
    output:
        masks=directory("results/{dataset}/sam_masks/{case}"),
        features="results/{dataset}/sam_features/{case}.npy",
    log:
        "logs/{dataset}/everything_mode/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/everything_mode/{case}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=sam_memory,
        runtime=sam_minutes,
        gpu=1,
    params:
        sam=section("sam"),
        content=sam_content,
        code=code("everything_mode"),
    script:
        "../workflow_scripts/everything_mode.py"


rule shape_priors:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        masks="results/{dataset}/sam_masks/{case}",
    output:
        rois="results/{dataset}/rois/{case}.csv",
    log:
        "logs/{dataset}/shape_priors/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/shape_priors/{case}.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=by_size(1000, 50),
        runtime=by_size(5, 1),
    params:
        priors=section("shape_priors"),
        code=code("shape_priors"),
    script:
        "../workflow_scripts/shape_priors.py"


rule dino_features:
    input:
        unpack(feature_source),
        volume="results/{dataset}/volumes/{case}.nii.gz",
        masks="results/{dataset}/sam_masks/{case}",
        rois="results/{dataset}/rois/{case}.csv",
    output:
        features="results/{dataset}/dino_features/{case}.npz",
    log:
        "logs/{dataset}/dino_features/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/dino_features/{case}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=by_size(4000, 100),
        runtime=by_size(10, 5),
        gpu=dino_gpus,
    params:
        source=setting("clustering.features"),
        dino=dino_settings,
        field_of_view=view_of_features,
        rim=setting("clustering.rim"),
        code=code("dino_features"),
    script:
        "../workflow_scripts/dino_features.py"


rule sse:
    input:
        features=of_training("results/{dataset}/dino_features/{case}.npz"),
        rois=of_training("results/{dataset}/rois/{case}.csv"),
        volumes=of_training("results/{dataset}/volumes/{case}.nii.gz"),
    output:
        curve="results/{dataset}/clusters/sse.csv",
    log:
        "logs/{dataset}/sse.log",
    benchmark:
        "results/{dataset}/benchmarks/sse.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 4
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        cases=training_case_names,
        clustering=sse_settings,
        code=code("sse"),
    script:
        "../workflow_scripts/sse.py"


rule kmeans:
    input:
        unpack(masks_as_evidence),
        curve="results/{dataset}/clusters/sse.csv",
        features=of_training("results/{dataset}/dino_features/{case}.npz"),
    output:
        kmeans="results/{dataset}/clusters/kmeans.npz",
        target="results/{dataset}/clusters/target.json",
    log:
        "logs/{dataset}/kmeans.log",
    benchmark:
        "results/{dataset}/benchmarks/kmeans.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        cases=training_case_names,
        clustering=kmeans_settings_of_rois,
        target=target_settings,
        code=code("kmeans"),
    script:
        "../workflow_scripts/kmeans.py"


# Which cluster every ROI is in, for the figure and for you: no later stage reads so long a table.
rule assignments:
    input:
        kmeans="results/{dataset}/clusters/kmeans.npz",
        target="results/{dataset}/clusters/target.json",
        features=per_case("results/{dataset}/dino_features/{case}.npz"),
    output:
        assignments="results/{dataset}/clusters/assignments.csv",
    log:
        "logs/{dataset}/assignments.log",
    benchmark:
        "results/{dataset}/benchmarks/assignments.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        cases=case_names,
        splits=splits,
        code=code("assignments"),
    script:
        "../workflow_scripts/assignments.py"


rule pseudo_label:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        masks="results/{dataset}/sam_masks/{case}",
        rois="results/{dataset}/rois/{case}.csv",
        features="results/{dataset}/dino_features/{case}.npz",
        kmeans="results/{dataset}/clusters/kmeans.npz",
        target="results/{dataset}/clusters/target.json",
    output:
        pseudo_label="results/{dataset}/pseudo_labels/{case}.nii.gz",
    log:
        "logs/{dataset}/pseudo_label/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/pseudo_label/{case}.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=by_size(1000, 50),
        runtime=by_size(5, 1),
    params:
        select=setting("target.select"),
        code=code("pseudo_label"),
    script:
        "../workflow_scripts/pseudo_label.py"
