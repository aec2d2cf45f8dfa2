# The paper's figures. Fig. 3a, 3b and the SSE curve are drawn from tables alone.
OURS = "Ours"


def shown_cases(wildcards):
    """Rows of Fig. 2: the first test cases, those with a label before the others."""
    labelled = cases(wildcards.dataset, "test", labelled=True)
    others = cases(wildcards.dataset, "test", labelled=False)
    return [*labelled, *others][: settings(wildcards.dataset)["figures"]["cases"]]


def shown_methods(wildcards):
    """Columns of Fig. 2 after the image: method -> title."""
    result = ours(wildcards.dataset)
    rows = {row.name: row.method for row in compared(wildcards) if not row.skipped}
    title = OURS if result.startswith("triple") else f"UNet ({result.rsplit('_seed')[0]})"
    rows |= {title: result}
    order = ["K-means (intensity)", "K-means (DINO)", title, "FullySup"]
    return {rows[name]: name for name in order if name in rows}


def shown_volumes(wildcards):
    return expand(
        "results/{dataset}/volumes/{case}.nii.gz", dataset=wildcards.dataset, case=shown_cases(wildcards)
    )


def shown_labels(wildcards):
    labelled = cases(wildcards.dataset, "test", labelled=True)
    names = [case for case in shown_cases(wildcards) if case in labelled]
    return expand("results/{dataset}/labels/{case}.nii.gz", dataset=wildcards.dataset, case=names)


def shown_predictions(wildcards):
    """Of every method for labelled cases; without a label, of the networks alone."""
    labelled = cases(wildcards.dataset, "test", labelled=True)
    return [
        f"results/{wildcards.dataset}/predictions/{method}/{case}.nii.gz"
        for case in shown_cases(wildcards)
        for method in shown_methods(wildcards)
        if case in labelled or not method.startswith("kmeans")
    ]


def result(name):
    """A figure as PNG and PDF, the first of them in the report."""
    path = f"results/{{dataset}}/figures/{name}"
    shown = report(
        f"{path}.png",
        caption=f"../captions/{name}.rst",
        category="{dataset}",
        labels={"result": name},
    )
    return [shown, f"{path}.pdf"]


rule contour_figure:
    input:
        volumes=shown_volumes,
        labels=shown_labels,
        predictions=shown_predictions,
    output:
        result("fig2"),
    log:
        "logs/{dataset}/contour_figure.log",
    benchmark:
        "results/{dataset}/benchmarks/contour_figure.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=by_size(1000, 50, largest_volume),
        runtime=by_size(5, 1, largest_volume),
    params:
        columns=shown_methods,
        figures=section("figures"),
        code=code("contour_figure"),
    script:
        "../workflow_scripts/contour_figure.py"


rule precision_figure:
    input:
        table="results/{dataset}/tables/precision.csv",
    output:
        result("fig3a"),
    log:
        "logs/{dataset}/precision_figure.log",
    benchmark:
        "results/{dataset}/benchmarks/precision_figure.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        figures=section("figures"),
        code=code("precision_figure"),
    script:
        "../workflow_scripts/precision_figure.py"


rule ablation_figure:
    input:
        table="results/{dataset}/tables/ablation.csv",
    output:
        result("fig3b"),
    log:
        "logs/{dataset}/ablation_figure.log",
    benchmark:
        "results/{dataset}/benchmarks/ablation_figure.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        figures=section("figures"),
        code=code("ablation_figure"),
    script:
        "../workflow_scripts/ablation_figure.py"


rule sse_figure:
    input:
        curve="results/{dataset}/clusters/sse.csv",
        target="results/{dataset}/clusters/target.json",
    output:
        result("sse"),
    log:
        "logs/{dataset}/sse_figure.log",
    benchmark:
        "results/{dataset}/benchmarks/sse_figure.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        figures=section("figures"),
        code=code("sse_figure"),
    script:
        "../workflow_scripts/sse_figure.py"


rule cluster_figure:
    input:
        assignments="results/{dataset}/clusters/assignments.csv",
        target="results/{dataset}/clusters/target.json",
        volumes=per_case("results/{dataset}/volumes/{case}.nii.gz", "train"),
        masks=per_case("results/{dataset}/sam_masks/{case}", "train"),
    output:
        result("clusters"),
    log:
        "logs/{dataset}/cluster_figure.log",
    benchmark:
        "results/{dataset}/benchmarks/cluster_figure.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=15,
    params:
        figures=section("figures"),
        code=code("cluster_figure"),
    script:
        "../workflow_scripts/cluster_figure.py"


def overview_inputs(wildcards):
    """Every stage of one case: the first test case, or the first of all where there is none."""
    dataset = wildcards.dataset
    case = (cases(dataset, "test", labelled=True) or cases(dataset, "test") or cases(dataset))[0]
    folder = f"results/{dataset}"
    files = {
        "volume": f"{folder}/volumes/{case}.nii.gz",
        "masks": f"{folder}/sam_masks/{case}",
        "rois": f"{folder}/rois/{case}.csv",
        "pseudo_label": f"{folder}/pseudo_labels/{case}.nii.gz",
        "prediction": f"{folder}/predictions/{ours(dataset)}/{case}.nii.gz",
    }
    if case in cases(dataset, labelled=True):
        files["label"] = f"{folder}/labels/{case}.nii.gz"
    return files


rule overview_figure:
    input:
        unpack(overview_inputs),
    output:
        result("overview"),
    log:
        "logs/{dataset}/overview_figure.log",
    benchmark:
        "results/{dataset}/benchmarks/overview_figure.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=by_size(1000, 50, largest_volume),
        runtime=by_size(5, 1, largest_volume),
    params:
        figures=section("figures"),
        code=code("overview_figure"),
    script:
        "../workflow_scripts/overview_figure.py"
