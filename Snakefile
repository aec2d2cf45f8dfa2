# UM-SAM: unsupervised medical image segmentation with knowledge distillation from SAM.
# `snakemake --cores 8` makes everything; each target below makes its part of the paper.
import gc

from snakemake.utils import min_version

min_version("9.0")

# A plan is objects that all stay: to look for garbage among them at every turn takes a tenth of its time.
gc.set_threshold(200_000)


configfile: "config.yaml"


# Read with `--sdm conda apptainer` alone; see the Dockerfile.
containerized: "um-sam.sif"


include: "rules/common.smk"
include: "rules/resources.smk"


wildcard_constraints:
    dataset="[A-Za-z0-9][A-Za-z0-9_-]*",
    case="[A-Za-z0-9][A-Za-z0-9._-]*",
    variant="plkd|plkd_cfkd|plkd_cckd|triple|supervised",
    seed=r"\d+",


localrules:
    all,
    pseudo_labels,
    overview,
    table1,
    fig2,
    fig3a,
    fig3b,
    diagnose,
    baselines,
    baseline_weights,
    pretraining,


MAIN = ["predictions", "pseudo_labels", "sse", "clusters", "overview", "table1", "fig2", "fig3a", "fig3b"]


rule all:
    default_target: True
    input:
        of_run(*MAIN),
        joint_table,
        expand("results/{dataset}/provenance.json", dataset=config["run"]),


# Pseudo-labels alone (eq. 1-5), to look at before training on them.
rule pseudo_labels:
    input:
        of_run("pseudo_labels", "sse", "clusters"),


# The README's picture: every stage on one slice.
rule overview:
    input:
        of_run("overview"),


# Which step limits the pseudo-labels; training volumes need labels for it.
rule diagnose:
    input:
        of_run("diagnosis"),


rule table1:
    input:
        of_run("table1"),
        joint_table,


rule fig2:
    input:
        of_run("fig2"),


rule fig3a:
    input:
        of_run("fig3a"),


rule fig3b:
    input:
        of_run("fig3b"),


# Every row of Table 1 that can be run, and the table; `table1` gives the same table.
rule baselines:
    input:
        of_run("baselines"),
        joint_table,


# The pretrained models of those rows, fetched into weights/ (on a cluster: where there is a network).
rule baseline_weights:
    input:
        missing_weight_files,


include: "rules/data.smk"
include: "rules/weights.smk"
include: "rules/pseudo_labels.smk"
include: "rules/adaptation.smk"
include: "rules/refinement.smk"
include: "rules/training.smk"
include: "rules/baselines.smk"
include: "rules/text_baselines.smk"
include: "rules/nnunet.smk"
include: "rules/evaluation.smk"
include: "rules/figures.smk"
include: "rules/provenance.smk"
include: "rules/pretraining.smk"


if workflow.is_main_process:
    for dataset in config["run"]:
        or_stop(check_files, dataset)


onstart:
    for line in dict.fromkeys(line for dataset in config["run"] for line in not_run(dataset)):
        logger.info(line)
    for dataset in config["run"]:
        for line in unlabelled(dataset):
            logger.info(line)


onerror:
    for job in failed_jobs("logs", since=STARTED):
        logger.error(f"Failed: {job.name}: {job.error} (log: {job.log})")
    # What a failed job made before is gone, what follows from it is not: the next run must not take
    # that for up to date, so it is marked as Snakemake marks what a killed run leaves.
    for job in workflow.dag.needrun_jobs():
        if any(Path(file).exists() for file in job.output):
            workflow.persistence.started(job)
