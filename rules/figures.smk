# The figures. Fig. 3a, Fig. 3b and the SSE curve are drawn from tables alone.


rule contour_figure:
    input:
        volumes=targets.shown_volumes,
        labels=targets.shown_labels,
        predictions=targets.shown_predictions,
    output:
        report(
            "results/{dataset}/figures/fig2.png",
            caption="../captions/fig2.rst",
            category="{dataset}",
            labels={"result": "fig2"},
        ),
        "results/{dataset}/figures/fig2.pdf",
    log:
        "logs/{dataset}/contour_figure.log",
    benchmark:
        "results/{dataset}/benchmarks/contour_figure.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=requests.by_largest_volume(1000, 50),
        runtime=requests.by_largest_volume(5, 1),
    params:
        columns=targets.shown_methods,
        figures=settings.section("figures"),
        code=code("contour_figure"),
    script:
        "../workflow_scripts/contour_figure.py"


rule precision_figure:
    input:
        table="results/{dataset}/tables/precision.csv",
    output:
        report(
            "results/{dataset}/figures/fig3a.png",
            caption="../captions/fig3a.rst",
            category="{dataset}",
            labels={"result": "fig3a"},
        ),
        "results/{dataset}/figures/fig3a.pdf",
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
        figures=settings.section("figures"),
        code=code("precision_figure"),
    script:
        "../workflow_scripts/precision_figure.py"


rule ablation_figure:
    input:
        table="results/{dataset}/tables/ablation.csv",
    output:
        report(
            "results/{dataset}/figures/fig3b.png",
            caption="../captions/fig3b.rst",
            category="{dataset}",
            labels={"result": "fig3b"},
        ),
        "results/{dataset}/figures/fig3b.pdf",
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
        figures=settings.section("figures"),
        code=code("ablation_figure"),
    script:
        "../workflow_scripts/ablation_figure.py"


rule sse_figure:
    input:
        curve="results/{dataset}/clusters/sse.csv",
        target="results/{dataset}/clusters/target.json",
    output:
        report(
            "results/{dataset}/figures/sse.png",
            caption="../captions/sse.rst",
            category="{dataset}",
            labels={"result": "sse"},
        ),
        "results/{dataset}/figures/sse.pdf",
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
        figures=settings.section("figures"),
        code=code("sse_figure"),
    script:
        "../workflow_scripts/sse_figure.py"


rule cluster_figure:
    input:
        assignments="results/{dataset}/clusters/assignments.csv",
        target="results/{dataset}/clusters/target.json",
        volumes=cases.each("results/{dataset}/volumes/{case}.nii.gz", "train"),
        masks=cases.each("results/{dataset}/sam_masks/{case}", "train"),
    output:
        report(
            "results/{dataset}/figures/clusters.png",
            caption="../captions/clusters.rst",
            category="{dataset}",
            labels={"result": "clusters"},
        ),
        "results/{dataset}/figures/clusters.pdf",
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
        figures=settings.section("figures"),
        code=code("cluster_figure"),
    script:
        "../workflow_scripts/cluster_figure.py"


rule overview_figure:
    input:
        unpack(targets.overview_inputs),
    output:
        report(
            "results/{dataset}/figures/overview.png",
            caption="../captions/overview.rst",
            category="{dataset}",
            labels={"result": "overview"},
        ),
        "results/{dataset}/figures/overview.pdf",
    log:
        "logs/{dataset}/overview_figure.log",
    benchmark:
        "results/{dataset}/benchmarks/overview_figure.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=requests.by_largest_volume(1000, 50),
        runtime=requests.by_largest_volume(5, 1),
    params:
        figures=settings.section("figures"),
        code=code("overview_figure"),
    script:
        "../workflow_scripts/overview_figure.py"
