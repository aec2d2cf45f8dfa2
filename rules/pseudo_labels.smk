# Pseudo-labels without annotation: everything mode, shape priors, ROI features, clustering (eq. 1-5).


# The weights are ancient: their content is a parameter, and a fresh clone resets all time stamps.
rule everything_mode:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        sam_weights=ancient(weights.sam),
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
        mem_mb=requests.sam_memory,
        runtime=requests.sam_minutes,
        gpu=1,
    params:
        sam=stages.sam,
        content=weights.sam_content,
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
        mem_mb=requests.by_volume(1000, 50),
        runtime=requests.by_volume(5, 1),
    params:
        priors=settings.section("shape_priors"),
        code=code("shape_priors"),
    script:
        "../workflow_scripts/shape_priors.py"


# DINO's feature map covers whole slices and depends on neither masks nor shape priors.
rule dino_features:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        dino_weights=ancient(weights.dino),
    output:
        features="results/{dataset}/dino_features/{case}.npy",
    log:
        "logs/{dataset}/dino_features/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/dino_features/{case}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=requests.by_volume(4000, 100),
        runtime=requests.by_volume(10, 5),
        gpu=1,
    params:
        dino=weights.dino_identity,
        code=code("dino_features"),
    script:
        "../workflow_scripts/dino_features.py"


rule roi_features:
    input:
        unpack(stages.feature_maps),
        volume="results/{dataset}/volumes/{case}.nii.gz",
        masks="results/{dataset}/sam_masks/{case}",
        rois="results/{dataset}/rois/{case}.csv",
    output:
        features="results/{dataset}/roi_features/{case}.npz",
    log:
        "logs/{dataset}/roi_features/{case}.log",
    benchmark:
        "results/{dataset}/benchmarks/roi_features/{case}.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=requests.by_volume(2000, 100),
        runtime=requests.by_volume(5, 5),
    params:
        field_of_view=stages.view_of_features,
        rim_width=settings.value("clustering.rim_width"),
        code=code("roi_features"),
    script:
        "../workflow_scripts/roi_features.py"


rule sse_curve:
    input:
        features=cases.each_training("results/{dataset}/roi_features/{case}.npz"),
        rois=cases.each_training("results/{dataset}/rois/{case}.csv"),
    output:
        curve="results/{dataset}/clusters/sse.csv",
    log:
        "logs/{dataset}/sse_curve.log",
    benchmark:
        "results/{dataset}/benchmarks/sse_curve.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 4
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        cases=cases.training_names,
        clustering=stages.sse_curve,
        code=code("sse_curve"),
    script:
        "../workflow_scripts/sse_curve.py"


rule kmeans:
    input:
        unpack(stages.knee),
        features=cases.each_training("results/{dataset}/roi_features/{case}.npz"),
        rois=cases.each_training("results/{dataset}/rois/{case}.csv"),
        volumes=cases.each_training("results/{dataset}/volumes/{case}.nii.gz"),
    output:
        kmeans="results/{dataset}/clusters/kmeans.npz",
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
        cases=cases.training_names,
        clustering=stages.kmeans,
        code=code("kmeans"),
    script:
        "../workflow_scripts/kmeans.py"


rule target_cluster:
    input:
        unpack(stages.evidence),
        kmeans="results/{dataset}/clusters/kmeans.npz",
        features=cases.each_training("results/{dataset}/roi_features/{case}.npz"),
        rois=cases.each_training("results/{dataset}/rois/{case}.csv"),
    output:
        target="results/{dataset}/clusters/target.json",
    log:
        "logs/{dataset}/target_cluster.log",
    benchmark:
        "results/{dataset}/benchmarks/target_cluster.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        cases=cases.training_names,
        target=stages.target,
        code=code("target_cluster"),
    script:
        "../workflow_scripts/target_cluster.py"


# The cluster of every ROI, for the figure, the diagnosis and the user; pseudo_label does not read so long a table.
rule assignments:
    input:
        kmeans="results/{dataset}/clusters/kmeans.npz",
        features=cases.each("results/{dataset}/roi_features/{case}.npz"),
        rois=cases.each("results/{dataset}/rois/{case}.csv"),
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
        cases=cases.all_names,
        splits=cases.splits,
        attribute=settings.value("target.attribute"),
        code=code("assignments"),
    script:
        "../workflow_scripts/assignments.py"


rule pseudo_label:
    input:
        volume="results/{dataset}/volumes/{case}.nii.gz",
        masks="results/{dataset}/sam_masks/{case}",
        rois="results/{dataset}/rois/{case}.csv",
        features="results/{dataset}/roi_features/{case}.npz",
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
        mem_mb=requests.by_volume(1000, 50),
        runtime=requests.by_volume(5, 1),
    params:
        select=settings.value("target.select"),
        code=code("pseudo_label"),
    script:
        "../workflow_scripts/pseudo_label.py"
