"""The compact DINO: its patch grid, its checkpoint, its errors."""

import pytest
import torch

from umsam.errors import InputError
from umsam.models.compact_dino import PATCH, build_compact_dino, save_compact_dino


@pytest.mark.parametrize("size", [(64, 64), (72, 72), (8, 40), (224, 224)])
def test_images_whose_sides_are_multiples_of_the_patch_give_a_full_grid(size):
    model = build_compact_dino(None)
    height, width = size
    with torch.no_grad():
        tokens = model.forward_features(torch.randn(1, 3, height, width))
    assert tokens.shape == (1, 1 + (height // PATCH) * (width // PATCH), model.embed_dim)


def test_patches_are_in_row_major_order():
    """A change inside a patch affects the tokens of that patch and at most of its neighbours."""
    model = build_compact_dino(None)
    image = torch.randn(1, 3, 48, 64)
    changed = image.clone()
    changed[:, :, 40:48, 16:24] += 3.0
    with torch.no_grad():
        changes = (model.patch_embed(changed) - model.patch_embed(image)).norm(dim=-1)[0] > 0
    assert changes.shape == (6, 8)
    assert changes[5, 2]
    changes[4:, 1:4] = False
    assert not changes.any()


def test_a_checkpoint_is_small_and_restores_the_weights_in_half_precision(tmp_path):
    torch.manual_seed(0)
    model = build_compact_dino(None)
    path = tmp_path / "compact_dino.pt"
    save_compact_dino(model, path)
    again = build_compact_dino(path)
    assert path.stat().st_size < 8e6
    assert not again.training
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value.half().float(), rtol=0, atol=0)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.pt: no such file"):
        build_compact_dino(tmp_path / "nothing.pt")


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="not a compact DINO"):
        build_compact_dino(path)
