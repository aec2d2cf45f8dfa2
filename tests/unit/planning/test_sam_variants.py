"""One registry of SAM variants, and every other list agrees with it."""

from pathlib import Path

import pytest

from umsam.planning.sam_variants import SAM_VARIANTS, resolve_thresholds
from umsam.planning.validation import read_yaml
from umsam.planning.weights import read_registry

ROOT = Path(__file__).parents[3]
THRESHOLDS = ("pred_iou_thresh", "stability_score_thresh", "stability_score_offset")


def test_the_schema_lists_the_variants():
    schema = read_yaml(ROOT / "schemas/config.schema.yaml")
    assert set(schema["$defs"]["sam"]["properties"]["model"]["enum"]) == set(SAM_VARIANTS)


def test_every_downloaded_variant_has_a_checkpoint_with_a_checksum():
    registry = read_registry(ROOT / "resources/weights.tsv")
    for name in set(SAM_VARIANTS) - {"compact"}:
        (file,) = registry[f"sam_{name}"].files.values()
        assert file.sha256
        assert file.url.startswith("https://")
    assert {key for key in registry if key.startswith("sam_")} == {
        f"sam_{name}" for name in SAM_VARIANTS if name != "compact"
    }


@pytest.mark.parametrize("page", ["docs/models.md", "config.yaml"])
def test_the_documentation_names_every_variant(page):
    text = (ROOT / page).read_text()
    assert all(name in text for name in SAM_VARIANTS)


def test_metas_thresholds_are_those_of_its_generator():
    import inspect

    from segment_anything import SamAutomaticMaskGenerator

    defaults = inspect.signature(SamAutomaticMaskGenerator).parameters
    for name in ("vit_b", "vit_l", "vit_h", "vit_t"):
        for threshold in THRESHOLDS:
            assert getattr(SAM_VARIANTS[name], threshold) == defaults[threshold].default


def test_null_thresholds_are_the_models_own():
    sam = {"model": "compact", "points_per_side": 8, "checkpoint": None}
    stated = {**sam, "pred_iou_thresh": 0.5, "stability_score_thresh": None}
    resolved = resolve_thresholds({**stated, "stability_score_offset": None})
    own = SAM_VARIANTS["compact"]
    assert resolved["pred_iou_thresh"] == 0.5
    assert resolved["stability_score_thresh"] == own.stability_score_thresh
    assert resolved["stability_score_offset"] == own.stability_score_offset
    assert resolved["checkpoint"] is None
