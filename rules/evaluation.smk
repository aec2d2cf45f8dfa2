# DSC and ASSD of each method, the precision of the ROI sets, and the tables made of them.
from dataclasses import asdict

from umsam.planning.baselines import ablation_methods, baseline, comparison_rows


def compared(wildcards):
    """The rows of Table 1."""
    chosen = settings(wildcards.dataset)
    methods = chosen["baselines"]["methods"]
    return comparison_rows(
        methods,
        {method: why_not(wildcards.dataset, method) for method in methods},
        chosen["training"]["variants"],
        chosen["training"]["seeds"],
        {split: len(cases(wildcards.dataset, split, labelled=True)) for split in SPLITS},
        chosen_by_labels(wildcards),
    )


def chosen_by_labels(wildcards):
    """Whether validation labels choose the epoch of a network."""
    training = settings(wildcards.dataset)["training"]
    several = training["validate_every"] < training["epochs"]
    return several and bool(cases(wildcards.dataset, "val", labelled=True))


def compared_rows(wildcards):
    return [asdict(row) for row in compared(wildcards)]


def compared_metrics(wildcards):
    methods = [row.method for row in compared(wildcards) if not row.skipped]
    return expand("results/{dataset}/metrics/{method}.csv", dataset=wildcards.dataset, method=methods)


def unscored(wildcards):
    """Test cases without a label."""
    return cases(wildcards.dataset, "test", labelled=False)


def ablated(wildcards):
    """Method -> (variant, seed) of the ablation."""
    training = settings(wildcards.dataset)["training"]
    return ablation_methods(training["variants"], training["seeds"])


def ablated_metrics(wildcards):
    methods = list(ablated(wildcards))
    return expand("results/{dataset}/metrics/{method}.csv", dataset=wildcards.dataset, method=methods)


def validated(pattern):
    """Files of the labelled validation cases, for the networks: no other method is chosen by them."""
    files = per_case(pattern, "val", labelled=True)
    return lambda wildcards: [] if baseline(wildcards.method) else files(wildcards)


def labelled_training_cases(wildcards):
    return cases(wildcards.dataset, "train", labelled=True)


def tables_of_run(wildcards):
    return [path for dataset in config["run"] for path in products(dataset, "table1") if path.endswith("csv")]


ruleorder: pseudo_label_metrics > metrics


rule metrics:
    input:
        val=validated("results/{dataset}/predictions/{method}/{case}.nii.gz"),
        val_labels=validated("results/{dataset}/labels/{case}.nii.gz"),
        test=per_case("results/{dataset}/predictions/{method}/{case}.nii.gz", "test", labelled=True),
        test_labels=per_case("results/{dataset}/labels/{case}.nii.gz", "test", labelled=True),
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
        mem_mb=by_size(1000, 120, largest_volume),
        runtime=by_size(30, 20, largest_volume),
    params:
        code=code("metrics"),
    script:
        "../workflow_scripts/metrics.py"


# The pseudo-labels themselves as the prediction: the bar "no training" of Fig. 3b.
rule pseudo_label_metrics:
    input:
        val=per_case("results/{dataset}/pseudo_labels/{case}.nii.gz", "val", labelled=True),
        val_labels=per_case("results/{dataset}/labels/{case}.nii.gz", "val", labelled=True),
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
        mem_mb=by_size(1000, 120, largest_volume),
        runtime=by_size(30, 20, largest_volume),
    params:
        code=code("metrics"),
    script:
        "../workflow_scripts/metrics.py"


rule comparison_table:
    input:
        metrics=compared_metrics,
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
        rows=compared_rows,
        unlabelled=unscored,
        code=code("comparison_table"),
    script:
        "../workflow_scripts/comparison_table.py"


# The tables of several data sets side by side, as the paper prints its two.
rule joint_table:
    input:
        tables_of_run,
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
        metrics=ablated_metrics,
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
        methods=ablated,
        chosen_by_labels=chosen_by_labels,
        code=code("ablation_table"),
    script:
        "../workflow_scripts/ablation_table.py"


rule roi_ious:
    input:
        masks=per_case("results/{dataset}/sam_masks/{case}", "train", labelled=True),
        rois=per_case("results/{dataset}/rois/{case}.csv", "train", labelled=True),
        pseudo_labels=per_case("results/{dataset}/pseudo_labels/{case}.nii.gz", "train", labelled=True),
        labels=per_case("results/{dataset}/labels/{case}.nii.gz", "train", labelled=True),
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
        mem_mb=by_size(2000, 100, largest_volume),
        runtime=by_size(30, 10, largest_volume),
    params:
        code=code("roi_ious"),
    script:
        "../workflow_scripts/roi_ious.py"


# From the table of ROIs alone: other thresholds cost seconds.
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
        thresholds=setting("evaluation.thresholds"),
        code=code("precision_table"),
    script:
        "../workflow_scripts/precision_table.py"


def diagnosed_refinement(wildcards):
    """The refined labels, where the networks learn from them."""
    if setting("training.targets")(wildcards) != "refined_labels":
        return {}
    pattern = "results/{dataset}/refined_labels/{case}.nii.gz"
    return {"refined_labels": per_case(pattern, "train", labelled=True)(wildcards)}


# Which step limits the pseudo-labels, where training volumes have labels.
rule diagnosis:
    input:
        unpack(diagnosed_refinement),
        masks=per_case("results/{dataset}/sam_masks/{case}", "train", labelled=True),
        rois=per_case("results/{dataset}/rois/{case}.csv", "train", labelled=True),
        labels=per_case("results/{dataset}/labels/{case}.nii.gz", "train", labelled=True),
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
        mem_mb=by_size(4000, 100, largest_volume),
        runtime=by_size(30, 10, largest_volume),
    params:
        cases=labelled_training_cases,
        target=section("target"),
        code=code("diagnosis"),
    script:
        "../workflow_scripts/diagnosis.py"


def finished_results(wildcards):
    """What ends each branch of a data set's run; the cost of its stages is known after them."""
    return [path for name in MAIN for path in products(wildcards.dataset, name)]


# Wall time and peak memory of the stages.
rule stages_table:
    input:
        finished_results,
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
