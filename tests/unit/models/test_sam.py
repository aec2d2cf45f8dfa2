"""Loading SAM: files in the official format, and errors about unsuitable ones."""

import hashlib
import sys
from pathlib import Path

import pytest
import torch
from segment_anything import sam_model_registry
from tiny_sam import tiny_sam

from umsam.errors import InputError
from umsam.models.sam import load_sam
from umsam.planning.sam_variants import SAM_VARIANTS

ROOT = Path(__file__).parents[3]
BUILDERS = {"vit_b": tiny_sam}


@pytest.fixture
def checkpoint(sam, tmp_path):
    path = tmp_path / "sam.pth"
    torch.save(sam.state_dict(), path)
    return path


def assert_same_weights(actual, expected):
    first, second = actual.state_dict(), expected.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_in_the_official_format_is_loaded(sam, tmp_path, zipped):
    path = tmp_path / "sam.pth"
    torch.save(sam.state_dict(), path, _use_new_zipfile_serialization=zipped)
    loaded = load_sam("vit_b", path, "cpu", builders=BUILDERS)
    assert_same_weights(loaded, sam)
    assert torch.equal(loaded.pixel_mean, sam.pixel_mean)
    assert torch.equal(loaded.pixel_std, sam.pixel_std)
    assert not loaded.training


def test_a_full_vit_b_is_loaded(tmp_path):
    path = tmp_path / "sam.pth"
    with torch.device("meta"):
        shapes = sam_model_registry["vit_b"]().state_dict()
    state = {name: torch.full(value.shape, 0.5) for name, value in shapes.items()}
    torch.save(state, path)
    loaded = load_sam("vit_b", path, "cpu")
    assert all((value == 0.5).all() for value in loaded.state_dict().values())
    assert loaded.image_encoder.img_size == 1024


@pytest.mark.filterwarnings("ignore")
def test_mobile_sam_equals_the_model_that_its_own_package_builds(tmp_path):
    """Compares the encoder with its buffers, and the masks, for random weights."""
    import numpy as np
    from mobile_sam import SamPredictor as TheirPredictor
    from mobile_sam import sam_model_registry as their_registry
    from segment_anything import SamPredictor

    torch.manual_seed(0)
    theirs = their_registry["vit_t"](checkpoint=None)
    with torch.no_grad():
        for name, value in theirs.named_parameters():
            if "attention_biases" in name:
                value.normal_()  # the attention derives its tables from these
    path = tmp_path / "mobile_sam.pt"
    torch.save(theirs.state_dict(), path)
    ours, theirs = load_sam("vit_t", path, "cpu"), theirs.eval()
    assert_same_weights(ours, theirs)
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


def test_mobile_sam_without_its_package_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mobile_sam", None)
    (tmp_path / "mobile_sam.pt").touch()
    with pytest.raises(InputError, match="pip install mobilesam-mirror"):
        load_sam("vit_t", tmp_path / "mobile_sam.pt", "cpu")


def test_a_file_with_another_sha256_is_refused(checkpoint):
    digest = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
    load_sam("vit_b", checkpoint, "cpu", digest, BUILDERS)
    with pytest.raises(InputError, match=rf"sam\.pth: sha256 is {digest}.*sam\.sha256"):
        load_sam("vit_b", checkpoint, "cpu", "0" * 64, BUILDERS)


@pytest.mark.parametrize("model", SAM_VARIANTS)
def test_a_missing_file_is_reported_with_the_remedy(tmp_path, model):
    with pytest.raises(InputError) as caught:
        load_sam(model, tmp_path / "none.pth", "cpu")
    message = str(caught.value)
    assert "none.pth" in message
    assert "sam.checkpoint" in message
    if model == "compact":
        assert "ships as resources/compact_sam.pt" in message
    else:
        rows = (ROOT / "resources/weights.tsv").read_text().splitlines()
        assert f"resources/weights.tsv under sam_{model})" in message
        assert any(row.startswith(f"sam_{model}\t") for row in rows)


def test_weights_of_another_model_are_refused(tmp_path):
    path = tmp_path / "sam.pth"
    torch.save(tiny_sam(channels=16).state_dict(), path)
    with pytest.raises(InputError, match=r"sam\.pth: does not hold the weights of SAM vit_b"):
        load_sam("vit_b", path, "cpu", builders=BUILDERS)


@pytest.mark.parametrize("model", ["vit_b", "compact"])
@pytest.mark.parametrize("content", [{"a": torch.zeros(1)}, [1, 2], b"not torch", b"", Path("x")])
def test_files_without_weights_are_refused(tmp_path, content, model):
    path = tmp_path / "sam.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)  # only unpickling could restore a Path
    with pytest.raises(InputError, match=r"sam\.pth"):
        load_sam(model, path, "cpu", builders=BUILDERS)


def test_an_unknown_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="vit_x"):
        load_sam("vit_x", tmp_path / "sam.pth", "cpu")
