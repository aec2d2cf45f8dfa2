# UM-SAM: unsupervised medical image segmentation with knowledge distillation from SAM.
# `snakemake --cores 8` makes everything; each target below makes its part of the paper.
import gc

from snakemake.utils import min_version

min_version("9.0")

# Planning allocates many long-lived objects; garbage collection would take a tenth of its time.
gc.set_threshold(200_000)


# Used with `--sdm conda apptainer` only; see the Dockerfile.
containerized: "um-sam.sif"


include: "rules/common.smk"


wildcard_constraints:
    dataset="[A-Za-z0-9][A-Za-z0-9_-]*",
    case="[A-Za-z0-9][A-Za-z0-9._-]*",
    variant=one_of(VARIANTS),
    seed=r"\d+",


rule all:
    """Everything: pseudo-labels, networks, predictions, tables and figures."""
    default_target: True
    input:
        targets.everything,
        targets.joint_table,
        targets.provenance,
    localrule: True


rule pseudo_labels:
    """Pseudo-labels only (eq. 1-5), to look at before training."""
    input:
        targets.of_run("pseudo_labels", "sse", "clusters"),
    localrule: True


rule overview:
    """A picture of every stage on one slice."""
    input:
        targets.of_run("overview"),
    localrule: True


rule diagnose:
    """Which step limits the pseudo-labels; needs labelled training cases."""
    input:
        targets.of_run("diagnosis"),
    localrule: True


rule table1:
    """Table 1: DSC and ASSD of all methods on the test cases."""
    input:
        targets.of_run("table1"),
        targets.joint_table,
    localrule: True


rule fig2:
    """Fig. 2: contours of the label and of the predictions."""
    input:
        targets.of_run("fig2"),
    localrule: True


rule fig3a:
    """Fig. 3a: precision of the three sets of ROIs."""
    input:
        targets.of_run("fig3a"),
    localrule: True


rule fig3b:
    """Fig. 3b: ablation of the distillation losses."""
    input:
        targets.of_run("fig3b"),
    localrule: True


rule baselines:
    """Every row of Table 1 that can run, and the table."""
    input:
        targets.of_run("baselines"),
        targets.joint_table,
    localrule: True


rule baseline_weights:
    """Download the pretrained models of Table 1's rows into weights/."""
    input:
        comparison.missing_files,
    localrule: True


rule pretraining:
    """Train the compact SAM and the compact DINO on generated images."""
    input:
        "results/pretraining/compact_sam.pt",
        "results/pretraining/compact_dino.pt",
    localrule: True


include: "rules/data.smk"
include: "rules/weights.smk"
include: "rules/pseudo_labels.smk"
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
    weights.check_files()
    cases.check_files()


onstart:
    for line in [*comparison.notes_on_rows(), *cases.notes_on_labels()]:
        logger.info(line)


onerror:
    for job in failed_jobs("logs", since=STARTED):
        logger.error(f"Failed: {job.name}: {job.error} (log: {job.log})")
    # Results that a failed job would have replaced must not count as up to date in the next run:
    # they are marked as Snakemake marks what a killed run leaves.
    for job in workflow.dag.needrun_jobs():
        if any(Path(file).exists() for file in job.output):
            workflow.persistence.started(job)
