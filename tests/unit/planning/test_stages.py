"""Inputs and parameters of the stages."""

import pytest
from study import Study, job, write_sheet

from umsam.planning.sam_variants import SAM_VARIANTS


@pytest.fixture(autouse=True)
def sheet(tmp_path):
    write_sheet(tmp_path)


@pytest.mark.parametrize("features", ["sam", "dino", "both"])
def test_features_are_pooled_from_the_models_that_the_settings_name(features):
    stages = Study(clustering={"features": features}, sam={"field_of_view": 90}).stages
    maps = stages.feature_maps(job(case="a"))
    names = {"sam": ["sam"], "dino": ["dino"], "both": ["sam", "dino"]}[features]
    assert maps == {f"{name}_features": f"results/mine/{name}_features/a.npy" for name in names}
    assert stages.view_of_features(job()) == (None if features == "dino" else 90)


def test_k_means_reads_the_curve_only_for_the_knee():
    assert Study().stages.knee(job()) == {}
    auto = Study(clustering={"k": "auto"}).stages
    assert auto.knee(job()) == {"curve": "results/mine/clusters/sse.csv"}


def test_masks_are_evidence_only_if_asked_for():
    assert Study().stages.evidence(job()) == {}
    stages = Study(target={"choose_by": "evidence"}).stages
    assert stages.evidence(job())["masks"] == [f"results/mine/sam_masks/{case}" for case in "ab"]


def test_everything_mode_gets_complete_thresholds():
    sam = Study(sam={"model": "vit_b"}).stages.sam(job())
    assert sam["pred_iou_thresh"] == 0.4  # the phantom's own
    assert sam["stability_score_thresh"] == SAM_VARIANTS["vit_b"].stability_score_thresh
    assert "checkpoint" not in sam


@pytest.mark.parametrize(
    ("variant", "labels", "teacher"),
    [
        ("plkd", [f"results/mine/pseudo_labels/{case}.nii.gz" for case in "ab"], []),
        ("triple", [f"results/mine/pseudo_labels/{case}.nii.gz" for case in "ab"],
         [f"results/mine/sam_features/{case}.npy" for case in "ab"]),
        ("supervised", ["results/mine/labels/a.nii.gz"], []),
    ],
)  # fmt: skip
def test_what_a_variant_learns_from(variant, labels, teacher):
    stages, wildcards = Study(sam={"field_of_view": 90}).stages, job(variant=variant)
    assert stages.training_labels(wildcards) == labels
    assert stages.teacher_features(wildcards) == teacher
    assert stages.teacher_view(wildcards) == (90 if teacher else None)
    assert len(stages.training_volumes(wildcards)) == len(labels)


def test_refined_labels_where_they_are_the_label_source():
    stages = Study(training={"label_source": "refined_labels"}).stages
    assert stages.training_labels(job(variant="plkd"))[0] == "results/mine/refined_labels/a.nii.gz"
    assert stages.refined_labels(job()) == {
        "refined_labels": ["results/mine/refined_labels/a.nii.gz"]
    }
    assert Study().stages.refined_labels(job()) == {}


def test_a_variant_has_only_the_settings_that_it_uses():
    stages = Study().stages
    plkd, triple = (stages.training(job(variant=name)) for name in ("plkd", "triple"))
    assert set(triple) - set(plkd) >= {"lambda_1", "lambda_2", "tau", "feature_scale"}
    assert triple["feature_scale"] == SAM_VARIANTS["compact"].feature_scale
    assert plkd["threads"] == triple["threads"] == 1
    assert stages.threads(job()) == {"train": 1, "refinement": 1}
