# DSC and ASSD of each method, precision of the ROI sets, and the tables made from them.


ruleorder: pseudo_label_metrics > metrics


rule metrics:
    input:
        val=comparison.validation_files("results/{dataset}/predictions/{method}/{case}.nii.gz"),
        val_labels=comparison.validation_files("results/{dataset}/labels/{case}.nii.gz"),
        test=cases.each("results/{dataset}/predictions/{method}/{case}.nii.gz", "test", labelled=True),
        test_labels=cases.each("results/{dataset}/labels/{case}.nii.gz", "test", labelled=True),
    output:
        "results/{dataset}/metrics/{method}.csv",
    log:
        "logs/{dataset}/metrics/{method}.log",
    benchmark:
        "results/{dataset}/benchmarks/metrics/{method}.tsv"
    wildcard_constraints:
        method="[a-z0-9_.]+",
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=requests.by_largest_volume(1000, 120),
        runtime=requests.by_largest_volume(30, 20),
    params:
        code=code("metrics"),
    script:
        "../workflow_scripts/metrics.py"


# The pseudo-labels as predictions: the bar "no training" of Fig. 3b.
rule pseudo_label_metrics:
    input:
        val=cases.each("results/{dataset}/pseudo_labels/{case}.nii.gz", "val", labelled=True),
        val_labels=cases.each("results/{dataset}/labels/{case}.nii.gz", "val", labelled=True),
    output:
        "results/{dataset}/metrics/pseudo_labels.csv",
    log:
        "logs/{dataset}/pseudo_label_metrics.log",
    benchmark:
        "results/{dataset}/benchmarks/pseudo_label_metrics.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=requests.by_largest_volume(1000, 120),
        runtime=requests.by_largest_volume(30, 20),
    params:
        code=code("metrics"),
    script:
        "../workflow_scripts/metrics.py"


rule comparison_table:
    input:
        metrics=comparison.metrics,
    output:
        csv="results/{dataset}/tables/table1.csv",
        md=report(
            "results/{dataset}/tables/table1.md",
            caption="../captions/table1.rst",
            category="{dataset}",
            labels={"result": "Table 1"},
        ),
        tex="results/{dataset}/tables/table1.tex",
    log:
        "logs/{dataset}/comparison_table.log",
    benchmark:
        "results/{dataset}/benchmarks/comparison_table.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        rows=comparison.row_records,
        unlabelled=cases.unlabelled_test_names,
        code=code("comparison_table"),
    script:
        "../workflow_scripts/comparison_table.py"


# The tables of several data sets side by side, as in the paper.
rule joint_table:
    input:
        targets.joined_tables,
    output:
        csv="results/tables/table1.csv",
        md=report(
            "results/tables/table1.md",
            caption="../captions/joint_table.rst",
            category="all data sets",
            labels={"result": "Table 1"},
        ),
        tex="results/tables/table1.tex",
    log:
        "logs/joint_table.log",
    benchmark:
        "results/benchmarks/joint_table.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=code("joint_table"),
    script:
        "../workflow_scripts/joint_table.py"


rule ablation_table:
    input:
        metrics=comparison.ablation_metrics,
    output:
        csv="results/{dataset}/tables/ablation.csv",
        md=report(
            "results/{dataset}/tables/ablation.md",
            caption="../captions/ablation.rst",
            category="{dataset}",
            labels={"result": "Ablation"},
        ),
        tex="results/{dataset}/tables/ablation.tex",
    log:
        "logs/{dataset}/ablation_table.log",
    benchmark:
        "results/{dataset}/benchmarks/ablation_table.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        methods=comparison.ablation,
        chosen_by_labels=comparison.chosen_by_labels,
        code=code("ablation_table"),
    script:
        "../workflow_scripts/ablation_table.py"


rule roi_ious:
    input:
        masks=cases.each("results/{dataset}/sam_masks/{case}", "train", labelled=True),
        rois=cases.each("results/{dataset}/rois/{case}.csv", "train", labelled=True),
        pseudo_labels=cases.each("results/{dataset}/pseudo_labels/{case}.nii.gz", "train", labelled=True),
        labels=cases.each("results/{dataset}/labels/{case}.nii.gz", "train", labelled=True),
    output:
        ious="results/{dataset}/tables/roi_ious.csv",
    log:
        "logs/{dataset}/roi_ious.log",
    benchmark:
        "results/{dataset}/benchmarks/roi_ious.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=requests.by_largest_volume(2000, 100),
        runtime=requests.by_largest_volume(30, 10),
    params:
        code=code("roi_ious"),
    script:
        "../workflow_scripts/roi_ious.py"


# Made from the table of ROIs alone, so other thresholds take seconds.
rule precision_table:
    input:
        ious="results/{dataset}/tables/roi_ious.csv",
    output:
        csv="results/{dataset}/tables/precision.csv",
        md=report(
            "results/{dataset}/tables/precision.md",
            caption="../captions/precision.rst",
            category="{dataset}",
            labels={"result": "Precision of the ROIs"},
        ),
        tex="results/{dataset}/tables/precision.tex",
        recall="results/{dataset}/tables/recall.csv",
    log:
        "logs/{dataset}/precision_table.log",
    benchmark:
        "results/{dataset}/benchmarks/precision_table.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=15,
    params:
        thresholds=settings.value("evaluation.thresholds"),
        code=code("precision_table"),
    script:
        "../workflow_scripts/precision_table.py"


# Which step limits the pseudo-labels; needs labelled training cases.
rule diagnosis:
    input:
        unpack(stages.refined_labels),
        masks=cases.each("results/{dataset}/sam_masks/{case}", "train", labelled=True),
        rois=cases.each("results/{dataset}/rois/{case}.csv", "train", labelled=True),
        labels=cases.each("results/{dataset}/labels/{case}.nii.gz", "train", labelled=True),
        assignments="results/{dataset}/clusters/assignments.csv",
        target="results/{dataset}/clusters/target.json",
    output:
        csv="results/{dataset}/tables/diagnosis.csv",
        md=report(
            "results/{dataset}/tables/diagnosis.md",
            caption="../captions/diagnosis.rst",
            category="{dataset}",
            labels={"result": "Diagnosis"},
        ),
        tex="results/{dataset}/tables/diagnosis.tex",
    log:
        "logs/{dataset}/diagnosis.log",
    benchmark:
        "results/{dataset}/benchmarks/diagnosis.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=requests.by_largest_volume(4000, 100),
        runtime=requests.by_largest_volume(30, 10),
    params:
        cases=cases.labelled_training_names,
        target=settings.section("target"),
        code=code("diagnosis"),
    script:
        "../workflow_scripts/diagnosis.py"


# Wall time and peak memory of each stage.
rule stages_table:
    input:
        targets.of_dataset,
    output:
        "results/{dataset}/tables/stages.csv",
    log:
        "logs/{dataset}/stages_table.log",
    benchmark:
        "results/{dataset}/benchmarks/stages_table.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        folder="results/{dataset}/benchmarks",
        code=code("stages_table"),
    script:
        "../workflow_scripts/stages_table.py"
