"""Feature maps of transformers with random weights, and errors about unsuitable files."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from umsam.data.intensity import IMAGENET_MEAN, IMAGENET_STD
from umsam.errors import InputError
from umsam.models import matmul_precision
from umsam.models.compact_dino import build_compact_dino, save_compact_dino
from umsam.models.dino import Dino, feature_maps, load_dino

NAME = "vit_tiny_patch16_224"


@pytest.fixture
def compact():
    torch.manual_seed(0)
    return Dino(build_compact_dino(None), 64)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return timm.create_model(NAME, num_classes=0, dynamic_img_size=True).eval()


def test_feature_maps_hold_the_normed_patch_tokens(network):
    volume = np.random.default_rng(0).random((3, 48, 80))
    maps = feature_maps(Dino(network, 80), volume, batch_size=2, device="cpu")
    assert maps.shape == (3, 192, 3, 5)
    assert maps.dtype == np.float32
    image = np.rint(volume[1] * 255) / 255  # already at the network's input size
    pixels = (image - np.reshape(IMAGENET_MEAN, (3, 1, 1))) / np.reshape(IMAGENET_STD, (3, 1, 1))
    with torch.no_grad():
        tokens = network.forward_features(torch.tensor(pixels[None], dtype=torch.float32))[0, 1:]
    expected = tokens.reshape(3, 5, 192).permute(2, 0, 1).numpy()
    np.testing.assert_allclose(maps[1], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "grid"),
    [((96, 96), (8, 8)), ((48, 96), (4, 8)), ((300, 100), (8, 3)), ((10, 1000), (1, 8))],
)
def test_the_long_side_is_resized_to_the_image_size(compact, shape, grid):
    maps = feature_maps(compact, np.zeros((1, *shape)), batch_size=1, device="cpu")
    assert maps.shape == (1, 192, *grid)


def test_the_batch_size_does_not_change_the_maps(compact):
    volume = np.random.default_rng(0).random((5, 40, 40))
    one_by_one = feature_maps(compact, volume, batch_size=1, device="cpu")
    in_one_batch = feature_maps(compact, volume, batch_size=8, device="cpu")
    np.testing.assert_allclose(one_by_one, in_one_batch, atol=1e-5)


@pytest.mark.parametrize(("exact", "setting"), [(True, "medium"), (False, "highest")])
def test_no_product_is_rounded(compact, monkeypatch, exact, setting):
    monkeypatch.setattr(matmul_precision, "onednn_is_exact", lambda: exact)
    forward, precisions = compact.model.forward_features, []

    def record_precision(images):
        precisions.append(torch.get_float32_matmul_precision())
        return forward(images)

    compact.model.forward_features = record_precision
    feature_maps(compact, np.zeros((2, 40, 40)), batch_size=1, device="cpu")
    assert precisions == [setting] * 2


def test_register_tokens_are_not_in_the_maps():
    network = timm.create_model("vit_small_patch14_reg4_dinov2", num_classes=0,
                                dynamic_img_size=True, depth=1, img_size=56).eval()  # fmt: skip
    maps = feature_maps(Dino(network, 56), np.zeros((1, 30, 60)), batch_size=1, device="cpu")
    assert maps.shape == (1, 384, 2, 4)


def test_the_compact_model_is_loaded_from_its_file(compact, tmp_path):
    save_compact_dino(compact.model, tmp_path / "dino.pt")
    loaded = load_dino("compact", tmp_path / "dino.pt", "cpu")
    assert loaded.image_size == 224
    assert loaded.patch == 8
    assert not loaded.model.training


@pytest.mark.parametrize("checkpoint", [None, []])
def test_the_compact_model_needs_a_checkpoint(checkpoint):
    with pytest.raises(InputError, match=r"dino\.checkpoint.*resources/compact_dino\.pt"):
        load_dino("compact", checkpoint, "cpu")


def wrap_as_teacher(state):
    return {"teacher": {f"module.backbone.{k}": v for k, v in state.items()}, "epoch": 3}


@pytest.mark.parametrize("form", ["plain", "teacher", "with a head", "safetensors"])
def test_local_checkpoints_are_loaded_in_every_form(network, tmp_path, form):
    state = network.state_dict()
    path = tmp_path / ("a.safetensors" if form == "safetensors" else "a.pth")
    if form == "safetensors":
        save_file(state, path)
    else:
        head = {"head.mlp.0.weight": torch.zeros(3, 3), "fc.bias": torch.zeros(2)}
        torch.save(
            {"plain": state, "teacher": wrap_as_teacher(state), "with a head": state | head}[form],
            path,
        )
    loaded = load_dino(NAME, path, "cpu")
    assert loaded.image_size == 448
    for key, value in loaded.model.state_dict().items():
        assert torch.equal(value, state[key])


def test_positions_for_another_image_size_are_resampled(tmp_path):
    torch.manual_seed(0)
    trained = timm.create_model(NAME, num_classes=0, img_size=96)
    torch.save(trained.state_dict(), tmp_path / "a.pth")
    loaded = load_dino(NAME, tmp_path / "a.pth", "cpu").model
    assert loaded.pos_embed.shape[1] == 1 + 14 * 14
    assert torch.equal(loaded.pos_embed[:, 0], trained.pos_embed[:, 0])


@pytest.mark.parametrize("content", ["other model", "no weights", "text", "object"])
def test_an_unsuitable_file_is_refused(tmp_path, content):
    path = tmp_path / "a.pth"
    if content == "text":
        path.write_text("nothing")
    else:
        other = timm.create_model("vit_tiny_patch16_224", num_classes=0, embed_dim=96).state_dict()
        torch.save({"other model": other, "no weights": [1], "object": tmp_path}[content], path)
    with pytest.raises(InputError, match=rf"a\.pth.*{NAME}.*dino\.checkpoint"):
        load_dino(NAME, path, "cpu")


def test_a_missing_file_is_reported_with_its_key(tmp_path):
    with pytest.raises(InputError, match=r"none\.pth: no such file.*dino\.checkpoint"):
        load_dino(NAME, tmp_path / "none.pth", "cpu")


def test_an_unreachable_hub_is_reported_with_the_remedy(monkeypatch, tmp_path):
    def offline(*arguments, **options):
        raise OSError("outgoing traffic has been disabled")

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=rf"{NAME}.*HF_HUB_OFFLINE is set.*dino\.checkpoint"):
        load_dino(NAME, None, "cpu")


@pytest.mark.parametrize("name", ["vit_smal_patch8_224.dino", "resnet18"])
def test_a_model_that_is_no_vision_transformer_is_refused(name, tmp_path):
    torch.save({}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=name):
        load_dino(name, tmp_path / "a.pth", "cpu")


def test_a_file_with_another_sha256_is_refused(tmp_path):
    torch.save({}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"dino\.sha256"):
        load_dino(NAME, tmp_path / "a.pth", "cpu", sha256="0" * 64)
