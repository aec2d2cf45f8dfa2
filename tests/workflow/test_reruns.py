"""Only what changed: for each edit, the exact set of rules that Snakemake would run again.

The run before the edit is made of empty files that `snakemake --touch` records as done, so no stage
computes anything here; what is tested is the workflow's own bookkeeping.
"""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/figures.md").read_text()
EXAMPLES = re.findall(
    r"```console\n\$ echo '(.*)' > (.*)\n\$ (snakemake .*)\n((?:.*\n)*?)```", PAGE
)
SHEET = """case	image	label	split
site1-01	site1-01_T2w.nii.gz	site1-01_mask.nii.gz	train
site2-01	site2-01_T2w.nii.gz	site2-01_mask.nii.gz	train
site3-02	site3-02_T2w.nii.gz	site3-02_mask.nii.gz	val
site2-02	site2-02_T2w.nii.gz	site2-02_mask.nii.gz	test
"""
RUN = ("--cores", "1", "--config", "run=phantom")

TABLES_OF_NETWORKS = {"metrics", "comparison_table", "ablation_table"}
FIGURES_OF_NETWORKS = {"contour_figure", "ablation_figure", "overview_figure"}
AFTER_TRAINING = {"predict", "predict_last", *TABLES_OF_NETWORKS, *FIGURES_OF_NETWORKS}
AFTER_PSEUDO_LABELS = {
    "train",
    *AFTER_TRAINING,
    "pseudo_label_metrics",
    "roi_ious",
    "precision_table",
    "precision_figure",
}
AFTER_TARGET = {"pseudo_label", "cluster_figure", "sse_figure", *AFTER_PSEUDO_LABELS}
AFTER_CLUSTERS = {"target_cluster", "assignments", *AFTER_TARGET}
AFTER_FEATURES = {"sse_curve", "kmeans", *AFTER_CLUSTERS}
AFTER_ROIS = {"roi_features", *AFTER_FEATURES}
PER_CASE = {"phantom", "preprocess", "everything_mode", "shape_priors", "roi_features"}
GPU = {"everything_mode", "dino_features"}
END = {"all", "stages_table", "provenance"}


@pytest.fixture(scope="module")
def finished(shared_checkout):
    """A checkout with a finished run of one data set of four cases."""
    checkout = shared_checkout
    (checkout.path / "resources/phantom.tsv").write_text(SHEET)
    for rule in ("sam", "dino"):  # what is in them is no matter here
        (checkout.path / f"resources/compact_{rule}.pt").touch()
    summary = checkout.snakemake("--dry-run", "--summary", *RUN)
    paths = [line.split("\t")[0] for line in summary.splitlines() if "\t" in line]
    for name in paths:
        if not name.startswith(("results/", "data/")):
            continue
        path = checkout.path / name
        if "/sam_masks/" in name:
            path.mkdir(parents=True, exist_ok=True)
            (path / "slice_000.npz").write_text(name)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    checkout.snakemake("--touch", *RUN)
    assert checkout.planned(*RUN) == {}
    return checkout


@pytest.fixture
def edited(finished):
    """Gives a function that replaces or (for "") adds text in a file; undone after the test."""
    before = {}

    def edit(name: str, old: str, new: str):
        path = finished.path / name
        content = path.read_bytes()
        before.setdefault(path, content)
        here, there = old.encode(), new.encode()
        assert here in content, f"{name} has no {old!r}"
        path.write_bytes(content.replace(here, there, 1) if old else content + there)

    yield edit
    for path, content in before.items():
        path.write_bytes(content)


def in_phantom(old, new):
    return ("resources/datasets/phantom.yaml", old, new)


def default(old, new):
    return ("config.yaml", old, new)


EDITS = {
    "touch everything": (None, set()),
    "v_max": (
        in_phantom("v_max: 0.2,", "v_max: 0.21,"),
        {"shape_priors", *AFTER_ROIS, *END},
    ),
    "K": (
        in_phantom("features: sam, k: 5,", "features: sam, k: 6,"),
        {"kmeans", *AFTER_CLUSTERS, "kmeans_baseline", *END},
    ),
    "the range of the SSE curve with a fixed K": (
        in_phantom("sse_k: [2, 12]", "sse_k: [2, 13]"),
        {"sse_curve", "sse_figure", *END},
    ),
    "the prior": (
        in_phantom("prior: 1.0", "prior: 1.1"),
        {"target_cluster", *AFTER_TARGET, *END},
    ),
    "the attribute of the prior": (
        in_phantom("target: {attribute: aspect_ratio,", "target: {attribute: area_mm2,"),
        {"target_cluster", "assignments", *AFTER_TARGET, *END},
    ),
    "evidence for the cluster": (
        in_phantom("target: {attribute:", "target: {choose_by: evidence, attribute:"),
        {"target_cluster", *AFTER_TARGET, *END},
    ),
    "choice among several ROIs": (
        default("select: nearest_centroid", "select: union"),
        {"pseudo_label", *AFTER_PSEUDO_LABELS, *END},
    ),
    "lambda_1": (
        default("lambda_1: 0.1\n", "lambda_1: 0.2\n"),
        {"train", *AFTER_TRAINING, *END},
    ),
    "threads of the training": (
        in_phantom("threads: 1", "threads: 2"),
        {"train", *AFTER_TRAINING, *END},
    ),
    "epochs": (in_phantom("epochs: 15", "epochs: 16"), {"train", *AFTER_TRAINING, *END}),
    "figure style": (
        in_phantom("figures: {cases: 2}", "figures: {cases: 2, dpi: 100}"),
        {
            *FIGURES_OF_NETWORKS,
            "precision_figure",
            "sse_figure",
            "cluster_figure",
            *END,
        },
    ),
    "IoU thresholds of Fig. 3a": (
        default("thresholds: [0.1, 0.2,", "thresholds: [0.2,"),
        {"precision_table", "precision_figure", *END},
    ),
    "v_min": (
        in_phantom("v_min: 0.01, v_max: 0.2,", "v_min: 0.02, v_max: 0.2,"),
        {"shape_priors", *AFTER_ROIS, *END},
    ),
    "the losses' module": (
        ("workflow_scripts/umsam/training/distillation.py", "", "UNUSED = 1\n"),
        {"train", *AFTER_TRAINING, *END},
    ),
    "the DINO module": (
        ("workflow_scripts/umsam/models/dino.py", "", "UNUSED = 1\n"),
        {"kmeans_baseline", "cryosam", "metrics", "comparison_table", "contour_figure", *END},
    ),
    "the module that chooses the target": (
        ("workflow_scripts/umsam/pseudo_labels/target.py", "", "UNUSED = 1\n"),
        {"target_cluster", *AFTER_TARGET, *END},
    ),
    "the simulated clicks": (
        ("workflow_scripts/umsam/baselines/prompts.py", "", "UNUSED = 1\n"),
        {"sam_prompts", "cryosam", "metrics", "comparison_table", *END},
    ),
    "SAM's weights": (
        ("resources/compact_sam.pt", "", "others"),
        {"everything_mode", "shape_priors", *AFTER_ROIS, "sam_prompts", "cryosam", *END},
    ),
    "DINO's weights": (
        ("resources/compact_dino.pt", "", "others"),
        {"kmeans_baseline", "cryosam", "metrics", "comparison_table", "contour_figure", *END},
    ),
    "DINO's features instead of SAM's": (
        in_phantom("features: sam, k: 5,", "features: dino, k: 5,"),
        {"dino_features", *AFTER_ROIS, *END},
    ),
    "DINO's features beside SAM's": (
        in_phantom("features: sam, k: 5,", "features: both, k: 5,"),
        {"dino_features", *AFTER_ROIS, *END},
    ),
    "a comment in the losses' module": (
        ("workflow_scripts/umsam/training/distillation.py", "", "# why\n"),
        set(),
    ),
    "how jobs log": (("workflow_scripts/umsam/jobs.py", "", "UNUSED = 1\n"), set()),
    "a new SAM variant": (
        ("workflow_scripts/umsam/planning/sam_variants.py", "", 'SAM_VARIANTS["x"] = 1\n'),
        set(),
    ),
    "an unrelated data set": (("resources/datasets/promise12.yaml", "k: 10}", "k: 11}"), set()),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_reruns_exactly(name, finished, edited):
    edit, expected = EDITS[name]
    if edit:
        edited(*edit)
    else:
        # But for the stamp that Snakemake leaves in a folder of outputs: of folders it knows no
        # content, only that time.
        for path in sorted(finished.path.rglob("*")):
            if ".snakemake" not in path.parts and path.name != ".snakemake_timestamp":
                path.touch()
    assert set(finished.planned(*RUN)) == expected


@pytest.mark.parametrize(("text", "file", "command", "table"), EXAMPLES)
def test_the_readmes_examples_plan_the_jobs_that_it_shows(text, file, command, table, finished):
    (finished.path / file).write_text(text + "\n")
    rows = [line.split() for line in table.splitlines()]
    shown = {row[0]: int(row[1]) for row in rows if row[-1].isdigit()}
    planned = finished.planned(*shlex.split(command)[2:])
    of_the_demo = (
        (ROOT / "resources/phantom.tsv").read_text().count("\ttrain")
    )  # here there are two
    for rule in PER_CASE | {"pseudo_label"}:
        if rule in shown:
            assert (shown[rule], planned[rule]) == (of_the_demo, 2), rule
            planned[rule] = of_the_demo
    assert planned == {rule: count for rule, count in shown.items() if rule != "total"}
    assert shown["total"] == sum(planned.values())


def test_how_surfaces_are_measured_is_no_reason_to_train(finished, edited):
    edited("workflow_scripts/umsam/evaluation/surface_distance.py", "", "UNUSED = 1\n")
    planned = finished.planned(*RUN)
    assert planned["metrics"]
    assert not {"train", "predict", "everything_mode"} & planned.keys()


def test_the_readme_has_examples():
    assert len(EXAMPLES) == 2


def test_lambda_1_trains_only_the_variants_that_use_it(finished, edited):
    edited("config.yaml", "lambda_1: 0.1\n", "lambda_1: 0.2\n")
    assert finished.planned(*RUN)["train"] == 2  # plkd_cfkd and triple


def test_a_new_training_case_runs_its_own_chain_and_the_fits(finished, edited):
    line = "site4-01\tsite4-01_T2w.nii.gz\tsite4-01_mask.nii.gz\ttrain\n"
    edited("resources/phantom.tsv", SHEET, SHEET + line)
    planned = finished.planned(*RUN)
    assert {rule: planned[rule] for rule in PER_CASE} == dict.fromkeys(PER_CASE, 1)
    assert planned["preprocess_label"] == 1
    assert planned["pseudo_label"] == 5
    assert set(planned) == {*PER_CASE, "preprocess_label", *AFTER_FEATURES, *END}


def test_a_new_case_without_a_part_in_the_fits_runs_its_own_chain_alone(finished, edited):
    edited("resources/phantom.tsv", SHEET, SHEET + "new\tnew_T2w.nii.gz\t\ttest\n")
    planned = finished.planned(*RUN)
    chain = {*PER_CASE, "pseudo_label", "predict"}
    assert {rule: planned[rule] for rule in chain} == {**dict.fromkeys(chain, 1), "predict": 2}
    of_all = {"assignments", "cluster_figure", "comparison_table", "contour_figure", *END}
    assert set(planned) == chain | of_all


def test_a_removed_case_reruns_the_fits_and_no_case(finished, edited):
    line = SHEET.splitlines(keepends=True)[2]
    edited("resources/phantom.tsv", line, "")
    planned = finished.planned(*RUN)
    assert set(planned) == {*AFTER_FEATURES, *END}
    assert planned["pseudo_label"] == 3


@pytest.mark.parametrize("features", ["sam", "dino", "both"])
def test_no_shape_prior_touches_a_gpu(finished, edited, features):
    edited(
        "resources/datasets/phantom.yaml", "features: sam, k: 5,", f"features: {features}, k: 5,"
    )
    edited("resources/datasets/phantom.yaml", "v_max: 0.2,", "v_max: 0.21,")
    planned = set(finished.planned(*RUN, "--", "pseudo_labels"))
    new_maps = set() if features == "sam" else {"dino_features"}  # the first time only
    assert planned & GPU == new_maps
    assert "roi_features" in planned


def test_k_means_waits_for_the_curve_only_for_the_knee(finished, edited):
    edited("resources/datasets/phantom.yaml", "k: 5, sse_k: [2, 12]", "k: auto, sse_k: [2, 13]")
    assert {"sse_curve", "kmeans", "target_cluster"} <= set(finished.planned(*RUN))


def test_without_triple_the_last_variant_is_the_result(finished, edited):
    edited(
        "config.yaml",
        "  variants: [plkd, plkd_cfkd, plkd_cckd, triple,",
        "  variants: [plkd_cfkd, plkd,",
    )
    text = finished.snakemake("--dry-run", "--summary", *RUN)
    predictions = set(re.findall(r"predictions/(\w+)/site2-02\.nii", text))
    assert "plkd_seed0" in predictions
    assert not [name for name in predictions if name.startswith("triple")]
    assert "train" not in finished.planned(*RUN)


def test_refined_labels_are_made_for_the_training_cases_and_learnt_from(finished, edited):
    edited("config.yaml", "label_source: pseudo_labels", "label_source: refined_labels")
    plan = finished.planned(*RUN)
    assert plan["refinement"] == 1
    assert plan["refined_label"] == 2  # the training cases
    variants = ("plkd", "plkd_cfkd", "plkd_cckd", "triple")  # not the supervised one
    assert plan["train"] == len(variants)
    assert set(plan) == {"refinement", "refined_label", "train", *AFTER_TRAINING, *END}
