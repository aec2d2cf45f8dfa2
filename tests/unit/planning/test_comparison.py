"""Which rows of Table 1 can run, and what they need."""

from pathlib import Path

import pytest
from study import ROWS, Study, job, write_sheet

from umsam.errors import InputError
from umsam.planning.baselines import BASELINES


@pytest.fixture(autouse=True)
def sheet(tmp_path):
    write_sheet(tmp_path)


def study(methods=tuple(BASELINES), tables_only=False, sections=None, **baselines):
    stated = {"methods": list(methods), **baselines}
    return Study(tables_only=tables_only, baselines=stated, **(sections or {})).comparison


def test_rows_without_weights_say_what_is_missing():
    comparison = study()
    assert comparison.runnable("mine") == [
        *("sam_point", "sam_box_1.3", "sam_box_1.4", "cryosam", "kmeans_intensity", "kmeans_dino")
    ]
    assert "weights/sam2.1-hiera-large lacks config.json" in comparison.why_not("mine", "sam2_box")
    reason = comparison.why_not("mine", "salip")
    assert "weights/clip-vit-large-patch14 lacks" in reason
    assert "baselines.descriptions is null" in reason
    assert len(comparison.notes_on_rows()) == 4


def test_a_row_runs_once_its_files_and_texts_are_there(tmp_path):
    comparison = study(["salip"], descriptions="texts.yaml", weights={"clip": {"folder": "clip"}})
    (tmp_path / "clip").mkdir()
    for name in comparison.weights.model("mine", "clip").files:
        (tmp_path / "clip" / name).touch()
    assert comparison.why_not("mine", "salip").startswith("texts.yaml: no such file")
    (tmp_path / "texts.yaml").write_text("salip: [a round brain]\n")
    assert comparison.runnable("mine") == ["salip"]
    assert comparison.descriptions("salip")(job()) == "texts.yaml"


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("umsam.planning.comparison.find_spec", lambda name: None)
    assert "pip install nnunetv2==" in study(["nnunet"]).why_not("mine", "nnunet")


def test_from_tables_a_row_with_metrics_was_run():
    path = Path("results/mine/metrics/sam2_box.csv")
    path.parent.mkdir(parents=True)
    path.touch()
    assert study(tables_only=True).why_not("mine", "sam2_box") == ""
    assert study(tables_only=True).why_not("mine", "sam2_point")
    assert study().why_not("mine", "sam2_box")


@pytest.mark.parametrize(
    ("method", "sections", "models"),
    [
        ("cryosam", {}, []),
        ("cryosam", {"dino": {"model": "vit_small_patch8_224.dino"}}, ["dinov2"]),
        ("medclip_sam", {}, ["biomedclip", "biomedbert"]),
        ("medclip_sam", {"sam": {"model": "vit_h"}}, ["biomedclip", "biomedbert", "sam_vit_b"]),
        ("sam2_point", {}, ["sam2"]),
        ("sam_box_1.7", {}, []),
    ],
)
def test_models_of_a_row_depend_on_the_settings(method, sections, models):
    assert study([method], sections=sections).models("mine", method) == models


def test_missing_files_to_download(monkeypatch):
    comparison = study(["sam2_point", "sam2_box"])
    folder = "weights/sam2.1-hiera-large"
    files = [f"{folder}/config.json", f"{folder}/model.safetensors"]
    assert comparison.missing_files(None) == files
    assert {file.removeprefix("weights/") for file in files} <= set(comparison.downloads())
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"HF_HUB_OFFLINE is set.*model\.safetensors"):
        comparison.missing_files(None)
    assert study(["sam_point"]).missing_files(None) == []


def test_metrics_are_of_the_rows_that_run():
    metrics = study(["sam_point", "salip"]).metrics(job())
    networks = [f"{name}_seed0{end}" for name in ("supervised", "triple") for end in ("", "_last")]
    assert [Path(path).stem for path in metrics] == ["sam_point", *networks]


@pytest.mark.parametrize(
    ("training", "rows", "chosen"),
    [
        ({"epochs": 4, "validate_every": 1}, ROWS, True),
        ({"epochs": 4, "validate_every": 4}, ROWS, False),
        ({"epochs": 4, "validate_every": 1}, [r for r in ROWS if r[1] != "val"], False),
    ],
)
def test_labels_choose_the_epoch_only_if_there_are_several_validations(
    tmp_path, training, rows, chosen
):
    write_sheet(tmp_path, rows)
    comparison = study(sections={"training": training})
    assert comparison.chosen_by_labels(job()) == chosen
    ours = next(row for row in comparison.row_records(job()) if row["name"] == "Ours")
    assert ("validation labels" in ours["supervision"]) == chosen


def test_networks_are_validated_and_baselines_are_not():
    files = study().validation_files("results/{dataset}/predictions/{method}/{case}.nii.gz")
    assert files(job(method="salip")) == []
    assert files(job(method="plkd_seed0")) == ["results/mine/predictions/plkd_seed0/c.nii.gz"]


def test_parameters_of_single_rows():
    comparison = study(sections={"clustering": {"k": "auto"}})
    assert comparison.prompt_scale(job(method="sam_box_1.4")) == 1.4
    assert comparison.prompt_scale(job(method="sam_point")) is None
    assert comparison.click_seed(job(method="sam_point")) == 0
    assert comparison.click_seed(job(method="sam_box_1.4")) is None
    assert comparison.kmeans_dino(job(method="kmeans_intensity")) is None
    assert comparison.kmeans_weights(job(method="kmeans_intensity")) == []
    assert comparison.kmeans_gpus(job(method="kmeans_dino")) == 1
    assert comparison.kmeans_clusters(job()) == "results/mine/clusters/kmeans.npz"
    assert study().kmeans_clusters(job()) == []
    assert "features" not in comparison.cryosam_settings(job())
    assert "sam" not in comparison.medclip_sam_settings(job())
    assert comparison.cryosam_checksums(job()) is None
