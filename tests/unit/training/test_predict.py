"""Prediction of whole volumes: sizes, padding, smoothing and checkpoints."""

import numpy as np
import pytest
import torch

from umsam.errors import InputError
from umsam.training.checkpoint import Checkpoint, load_unet
from umsam.training.predict import predict_volume
from umsam.training.unet import UNet


class Threshold(torch.nn.Module):
    """A stand-in for the UNet that segments intensities above one half."""

    spacing = None

    def forward(self, x):
        assert x.shape[-1] % 16 == x.shape[-2] % 16 == 0
        return torch.cat([torch.full_like(x, 0.5), x], dim=1), None


@pytest.mark.parametrize("shape", [(1, 16, 16), (5, 17, 31), (9, 40, 23)])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_every_voxel_keeps_its_place(shape, batch_size):
    volume = np.random.default_rng(0).random(shape, dtype=np.float32)
    mask = predict_volume(Threshold(), volume, (1.0, 1.0, 1.0), "cpu", batch_size)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, volume > 0.5)


@pytest.mark.parametrize(("pixel", "size"), [((1.0, 1.0), (40, 48)), ((0.5, 2.0), (20, 96))])
def test_slices_are_resampled_to_the_network_s_pixel_size_and_back(pixel, size):
    """A disc of 12 mm keeps its place; its border moves by at most 1.5 coarse pixels."""

    class Checked(Threshold):
        spacing = 1.0

        def forward(self, x):
            inner = x[0, 0].sum(0).nonzero().max(), x[0, 0].sum(1).nonzero().max()
            assert tuple(x.shape[-2:]) == tuple(n + -n % 16 for n in size)
            assert inner[0] < size[1]
            assert inner[1] < size[0]
            return super().forward(x)

    y, x = np.mgrid[:40, :48].astype(np.float32) + 0.5
    disc = np.hypot((y - 18) * pixel[0], (x - 26) * pixel[1]) < 6
    mask = predict_volume(Checked(), disc[None].astype(np.float32), (3.0, *pixel), "cpu")[0]
    assert mask.shape == disc.shape
    outside = np.hypot((y - 18) * pixel[0], (x - 26) * pixel[1]) > 6 + 1.5 * max(pixel)
    inside = np.hypot((y - 18) * pixel[0], (x - 26) * pixel[1]) < 6 - 1.5 * max(pixel)
    assert mask[inside].all()
    assert not mask[outside].any()


def test_a_slice_with_weak_evidence_follows_its_neighbours():
    volume = np.full((5, 16, 16), 0.3, np.float32)
    volume[:, 4:12, 4:12] = 0.9
    volume[2] = 0.45
    separate, smoothed = (
        predict_volume(Threshold(), volume, (3.0, 1.0, 1.0), "cpu", smooth=std)
        for std in (0.0, 3.0)
    )
    assert not separate[2].any()
    assert np.array_equal(smoothed[2], separate[1])


def test_one_confident_slice_does_not_outvote_its_neighbours():
    """Smoothing averages probabilities, so a large logit counts no more than a probability of 1."""

    class Confident(Threshold):
        def forward(self, x):
            return torch.cat([torch.zeros_like(x), torch.where(x > 0.9, 1000.0, -3.0)], dim=1), None

    volume = np.full((7, 16, 16), 0.1, np.float32)
    volume[3] = 1.0
    assert not predict_volume(Confident(), volume, (3.0, 1.0, 1.0), "cpu", smooth=5.0).any()


def test_the_batch_size_does_not_matter_and_the_mode_is_kept():
    torch.manual_seed(0)
    unet = UNet().train()
    volume = np.random.default_rng(0).random((5, 20, 36), dtype=np.float32)
    masks = [predict_volume(unet, volume, (1.0, 1.0, 1.0), "cpu", n) for n in (1, 5)]
    assert unet.training
    assert np.array_equal(*masks)


def test_a_checkpoint_survives_a_round_trip(tmp_path):
    unet = UNet().eval()
    path = tmp_path / "unet.pt"
    Checkpoint(unet.state_dict(), epoch=3, val_dsc=0.5, spacing=0.7).save(path)
    stored = torch.load(path, weights_only=True)
    assert (stored["epoch"], stored["val_dsc"]) == (3, 0.5)
    x = torch.rand(1, 1, 32, 32)
    loaded = load_unet(path, "cpu")
    assert torch.equal(loaded(x)[0], unet(x)[0])
    assert loaded.spacing == 0.7


@pytest.mark.parametrize("content", [{"weights": {"a": torch.ones(1)}}, {"b": 1}, [1, 2]])
def test_a_checkpoint_of_another_network_is_named(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt: not a checkpoint"):
        load_unet(tmp_path / "other.pt", "cpu")


def test_a_file_that_is_not_a_checkpoint_is_named(tmp_path):
    (tmp_path / "text.pt").write_text("not torch")
    with pytest.raises(InputError, match=r"text\.pt: not a checkpoint"):
        load_unet(tmp_path / "text.pt", "cpu")
