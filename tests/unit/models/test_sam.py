"""Loading SAM: files in the official format, and what is said of the wrong ones."""

import hashlib
import sys
from pathlib import Path

import pytest
import torch
from segment_anything import sam_model_registry
from tiny_sam import tiny_sam

from umsam.errors import InputError
from umsam.models.sam import (
    GENERATOR_DEFAULTS,
    MODELS,
    OFFICIAL,
    generator_settings,
    load_sam,
)

BUILDERS = {"vit_b": tiny_sam}


@pytest.fixture
def checkpoint(sam, tmp_path):
    path = tmp_path / "sam.pth"
    torch.save(sam.state_dict(), path)
    return path


def same(a, b):
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("zipped", [True, False])
def test_the_official_format_is_read(sam, tmp_path, zipped):
    path = tmp_path / "sam.pth"
    torch.save(sam.state_dict(), path, _use_new_zipfile_serialization=zipped)
    loaded = load_sam("vit_b", path, "cpu", builders=BUILDERS)
    assert same(loaded, sam)
    assert torch.equal(loaded.pixel_mean, sam.pixel_mean)
    assert torch.equal(loaded.pixel_std, sam.pixel_std)
    assert not loaded.training


def test_a_real_vit_b_is_read(tmp_path):
    path = tmp_path / "sam.pth"
    with torch.device("meta"):
        shapes = sam_model_registry["vit_b"]().state_dict()
    state = {name: torch.full(value.shape, 0.5) for name, value in shapes.items()}
    torch.save(state, path)
    loaded = load_sam("vit_b", path, "cpu")
    assert all((value == 0.5).all() for value in loaded.state_dict().values())
    assert loaded.image_encoder.img_size == 1024


@pytest.mark.filterwarnings("ignore")
def test_mobile_sam_is_what_its_own_package_builds(tmp_path):
    """Random weights in MobileSAM's format: the same encoder to the last buffer, the same masks."""
    import numpy as np
    from mobile_sam import SamPredictor as TheirPredictor
    from mobile_sam import sam_model_registry as their_registry
    from segment_anything import SamPredictor

    torch.manual_seed(0)
    theirs = their_registry["vit_t"](checkpoint=None)
    with torch.no_grad():
        for name, value in theirs.named_parameters():
            if "attention_biases" in name:
                value.normal_()  # tables in the attention are made of them when weights are in
    path = tmp_path / "mobile_sam.pt"
    torch.save(theirs.state_dict(), path)
    ours, theirs = load_sam("vit_t", path, "cpu"), theirs.eval()
    assert same(ours, theirs)
    assert type(ours.image_encoder) is type(theirs.image_encoder)
    buffers = dict(theirs.image_encoder.named_buffers())
    assert any(name.endswith(".ab") for name in buffers)
    for name, value in ours.image_encoder.named_buffers():
        assert torch.equal(value, buffers.pop(name)), name
    assert not buffers
    embedding = torch.randn(1, 256, 64, 64)
    answers = []
    for predictor in (SamPredictor(ours), TheirPredictor(theirs)):
        predictor.features, predictor.is_image_set = embedding, True
        predictor.original_size, predictor.input_size = (32, 48), (683, 1024)
        answers.append(predictor.predict(np.array([[20, 10]]), np.array([1])))
    assert all((a == b).all() for a, b in zip(*answers, strict=True))


def test_mobile_sam_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mobile_sam", None)
    (tmp_path / "mobile_sam.pt").touch()
    with pytest.raises(InputError, match="pip install mobilesam-mirror"):
        load_sam("vit_t", tmp_path / "mobile_sam.pt", "cpu")


def test_the_sha256_is_checked(checkpoint):
    digest = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
    load_sam("vit_b", checkpoint, "cpu", digest, BUILDERS)
    with pytest.raises(InputError, match=rf"sam\.pth: sha256 is {digest}.*sam\.sha256"):
        load_sam("vit_b", checkpoint, "cpu", "0" * 64, BUILDERS)


@pytest.mark.parametrize("model", MODELS)
def test_a_missing_file_is_named_with_the_remedy(tmp_path, model):
    with pytest.raises(InputError) as caught:
        load_sam(model, tmp_path / "none.pth", "cpu")
    message = str(caught.value)
    assert "none.pth" in message
    assert "sam.checkpoint" in message
    assert OFFICIAL.get(model, "ships as resources/compact_sam.pt") in message


def test_weights_of_another_model_are_refused(tmp_path):
    path = tmp_path / "sam.pth"
    torch.save(tiny_sam(channels=16).state_dict(), path)
    with pytest.raises(InputError, match=r"sam\.pth: does not hold the weights of SAM vit_b"):
        load_sam("vit_b", path, "cpu", builders=BUILDERS)


@pytest.mark.parametrize("model", ["vit_b", "compact"])
@pytest.mark.parametrize("content", [{"a": torch.zeros(1)}, [1, 2], b"not torch", b"", Path("x")])
def test_other_files_are_refused(tmp_path, content, model):
    path = tmp_path / "sam.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)  # a Path is an object, which only unpickling could bring back
    with pytest.raises(InputError, match=r"sam\.pth"):
        load_sam(model, path, "cpu", builders=BUILDERS)


def test_an_unknown_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="vit_x"):
        load_sam("vit_x", tmp_path / "sam.pth", "cpu")


def test_nulls_become_the_models_own_thresholds():
    asked = {"model": "vit_h", "pred_iou_thresh": None, "stability_score_thresh": 0.5,
             "stability_score_offset": None, "checkpoint": None, "points_per_side": 4}  # fmt: skip
    settings = generator_settings(asked)
    assert settings["pred_iou_thresh"] == 0.88
    assert settings["stability_score_thresh"] == 0.5
    assert settings["stability_score_offset"] == 1.0
    assert settings["checkpoint"] is None
    assert set(GENERATOR_DEFAULTS) == set(MODELS)


def test_metas_defaults_are_metas():
    import inspect

    from segment_anything import SamAutomaticMaskGenerator

    parameters = inspect.signature(SamAutomaticMaskGenerator).parameters
    for name, value in GENERATOR_DEFAULTS["vit_h"].items():
        assert parameters[name].default == value
