"""Prediction of whole volumes: sizes, padding, checkpoints, components."""

import numpy as np
import pytest
import torch

from umsam.errors import InputError
from umsam.training.predict import load_unet, predict_volume
from umsam.training.train import Checkpoint
from umsam.training.unet import UNet


class Threshold(torch.nn.Module):
    """A stand-in for the UNet that segments what is brighter than a half."""

    spacing = None

    def forward(self, x):
        assert x.shape[-1] % 16 == x.shape[-2] % 16 == 0
        return torch.cat([torch.full_like(x, 0.5), x], dim=1), None


@pytest.mark.parametrize("shape", [(1, 16, 16), (5, 17, 31), (9, 40, 23)])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_every_voxel_lands_where_it_was(shape, batch_size):
    volume = np.random.default_rng(0).random(shape, dtype=np.float32)
    mask = predict_volume(Threshold(), volume, (1.0, 1.0, 1.0), "cpu", batch_size)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, volume > 0.5)


@pytest.mark.parametrize(("pixel", "seen"), [((1.0, 1.0), (40, 48)), ((0.5, 2.0), (20, 96))])
def test_slices_are_seen_at_the_network_s_pixel_size_and_come_back(pixel, seen):
    """A disc of 12 mm keeps its place; its area is right to a pixel of the coarser grid's rim."""

    class Watched(Threshold):
        spacing = 1.0

        def forward(self, x):
            inner = x[0, 0].sum(0).nonzero().max(), x[0, 0].sum(1).nonzero().max()
            assert tuple(x.shape[-2:]) == tuple(n + -n % 16 for n in seen)
            assert inner[0] < seen[1] and inner[1] < seen[0]
            return super().forward(x)

    y, x = np.mgrid[:40, :48].astype(np.float32) + 0.5
    disc = np.hypot((y - 18) * pixel[0], (x - 26) * pixel[1]) < 6
    mask = predict_volume(Watched(), disc[None].astype(np.float32), (3.0, *pixel), "cpu")[0]
    assert mask.shape == disc.shape
    outside = np.hypot((y - 18) * pixel[0], (x - 26) * pixel[1]) > 6 + 1.5 * max(pixel)
    inside = np.hypot((y - 18) * pixel[0], (x - 26) * pixel[1]) < 6 - 1.5 * max(pixel)
    assert mask[inside].all() and not mask[outside].any()


def test_a_slice_that_tells_little_follows_its_neighbours():
    volume = np.full((5, 16, 16), 0.3, np.float32)
    volume[:, 4:12, 4:12] = 0.9
    volume[2] = 0.45
    alone, together = (
        predict_volume(Threshold(), volume, (3.0, 1.0, 1.0), "cpu", smooth=sd) for sd in (0.0, 3.0)
    )
    assert not alone[2].any()
    assert np.array_equal(together[2], alone[1])


def test_no_slice_outvotes_its_neighbours():
    """However sure the network is of one slice: three slices that say otherwise are as many."""

    class Sure(Threshold):
        def forward(self, x):
            return torch.cat([torch.zeros_like(x), torch.where(x > 0.9, 1000.0, -3.0)], dim=1), None

    volume = np.full((7, 16, 16), 0.1, np.float32)
    volume[3] = 1.0
    assert not predict_volume(Sure(), volume, (3.0, 1.0, 1.0), "cpu", smooth=5.0).any()


def test_batches_do_not_matter_and_the_mode_is_kept():
    torch.manual_seed(0)
    unet = UNet().train()
    volume = np.random.default_rng(0).random((5, 20, 36), dtype=np.float32)
    masks = [predict_volume(unet, volume, (1.0, 1.0, 1.0), "cpu", n) for n in (1, 5)]
    assert unet.training
    assert np.array_equal(*masks)


def test_checkpoint_round_trip(tmp_path):
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
def test_a_foreign_checkpoint_is_named(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt: not a checkpoint"):
        load_unet(tmp_path / "other.pt", "cpu")


def test_a_file_that_is_no_checkpoint_is_named(tmp_path):
    (tmp_path / "text.pt").write_text("not torch")
    with pytest.raises(InputError, match=r"text\.pt: not a checkpoint"):
        load_unet(tmp_path / "text.pt", "cpu")
