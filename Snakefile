# UM-SAM: unsupervised medical image segmentation with knowledge distillation from SAM.
# `snakemake --cores 8` makes everything; each target below makes its part of the paper.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config.yaml"


include: "rules/common.smk"


wildcard_constraints:
    dataset="[A-Za-z0-9][A-Za-z0-9_-]*",
    case="[A-Za-z0-9][A-Za-z0-9._-]*",
    variant="plkd|plkd_cfkd|plkd_cckd|triple|supervised",
    seed=r"\d+",


localrules:
    all,
    pseudo_labels,
    table1,
    fig2,
    fig3a,
    fig3b,
    baselines,


FIGURE_TYPES = ["png", "pdf"]
TABLE_TYPES = ["csv", "md", "tex"]

pseudo_label_volumes = of_run("results/{dataset}/pseudo_labels/{case}.nii.gz")
cluster_figures = of_run(
    expand("results/{{dataset}}/figures/{figure}.{type}", figure=["sse", "clusters"], type=FIGURE_TYPES)
)
comparison_tables = of_run(
    expand("results/{{dataset}}/tables/table1.{type}", type=TABLE_TYPES), "test", labelled=True
)
contour_figures = of_run(expand("results/{{dataset}}/figures/fig2.{type}", type=FIGURE_TYPES), "test")
precision_figures = of_run(
    expand("results/{{dataset}}/figures/fig3a.{type}", type=FIGURE_TYPES), "train", labelled=True
)
ablation_figures = of_run(
    expand("results/{{dataset}}/figures/fig3b.{type}", type=FIGURE_TYPES), "val", labelled=True
)


rule all:
    default_target: True
    input:
        our_predictions,
        pseudo_label_volumes,
        cluster_figures,
        comparison_tables,
        contour_figures,
        precision_figures,
        ablation_figures,


# Pseudo-labels alone (eq. 1-5), to look at before training on them.
rule pseudo_labels:
    input:
        pseudo_label_volumes,
        cluster_figures,


rule table1:
    input:
        comparison_tables,


rule fig2:
    input:
        contour_figures,


rule fig3a:
    input:
        precision_figures,


rule fig3b:
    input:
        ablation_figures,


rule baselines:
    input:
        baseline_predictions,


include: "rules/data.smk"
include: "rules/weights.smk"
include: "rules/pseudo_labels.smk"
include: "rules/training.smk"
include: "rules/baselines.smk"
include: "rules/evaluation.smk"
include: "rules/figures.smk"
include: "rules/pretraining.smk"


onstart:
    for dataset in config["run"]:
        for line in unlabelled(dataset):
            logger.info(line)
