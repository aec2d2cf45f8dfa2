"""Multi-crop: grey values and regions have the same geometry; pooling equals a plain loop."""

import numpy as np
import pytest
import torch

from umsam.data.intensity import IMAGENET_MEAN, IMAGENET_STD
from umsam.pretraining.dino_crops import (
    augment_intensity,
    multi_crop,
    pool_regions,
    random_affines,
    to_model_input,
    transplant_regions,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


def test_regions_and_grey_values_have_the_same_geometry(generator, monkeypatch):
    """The image encodes its labels, so coverage predicts the mean grey value of each patch."""
    monkeypatch.setattr(
        "umsam.pretraining.dino_crops.augment_intensity", lambda crops, generator: crops
    )
    labels = torch.full((2, 90, 120), -1)
    labels[:, 10:60, 20:70] = 0
    labels[:, 50:85, 60:110] = 1
    grey = torch.tensor([0.0, 0.5, 1.0])[labels + 1]
    crops = multi_crop(grey[:, None], labels[:, None], 32, 3, 2, (0.6, 1.5), 8, 0.0, generator)
    assert crops.images.shape == (6, 3, 32, 32)
    assert crops.coverage.shape == (6, 2, 16)
    red = crops.images[:, 0] * IMAGENET_STD[0] + IMAGENET_MEAN[0]
    patches = torch.nn.functional.avg_pool2d(red, 8).flatten(1)
    predicted = crops.coverage[:, 0] * 0.5 + crops.coverage[:, 1]
    assert (patches - predicted).abs().mean() < 0.02  # nearest and linear differ at borders
    assert predicted.max() > 0.4  # the crops contain regions


def test_transplanted_regions_keep_their_pixels():
    """The grey value is the number of the image; regions that keep their number keep it."""
    batch, views, size = 4, 3, 12
    own = torch.arange(batch).repeat(views)[:, None, None]
    crops = own.expand(-1, size, size).float()
    numbers = torch.randint(0, 4, crops.shape, generator=torch.Generator().manual_seed(0)).float()
    generator = torch.Generator().manual_seed(1)
    mixed, mixed_numbers = transplant_regions(crops, numbers, batch, 3, 1.0, generator)
    views_of = torch.arange(views).repeat_interleave(batch)[:, None, None]
    other = ((own - 1 - views_of) % batch).expand_as(crops)
    kept = mixed_numbers > 0
    assert torch.equal(mixed_numbers[kept], numbers[kept])
    assert torch.equal(mixed[kept], crops[kept])
    replaced = ~kept & (numbers > 0)
    assert replaced.any()
    assert torch.equal(mixed[~kept], other[~kept].float())
    same, same_numbers = transplant_regions(crops, numbers, batch, 3, 0.0, generator)
    assert torch.equal(same, crops)
    assert torch.equal(same_numbers, numbers)


def test_affines_zoom_within_the_range_and_preserve_right_angles(generator):
    theta = random_affines(50, 40, (100, 200), (0.5, 2.0), generator)
    pixels = theta[:, :, :2] * torch.tensor([100.0, 50.0])[None, :, None]  # half sides: x, then y
    zoom = pixels.norm(dim=1) / 20
    torch.testing.assert_close(zoom[:, 0], zoom[:, 1])
    assert zoom.min() >= 0.5 - 1e-5
    assert zoom.max() <= 2.0 + 1e-5
    assert (pixels[:, :, 0] * pixels[:, :, 1]).sum(1).abs().max() < 1e-3


def test_intensities_stay_in_range_and_depend_on_the_seed():
    crops = torch.rand(6, 24, 24)
    first, again, other = (
        augment_intensity(crops, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_model_input_is_normalised_rgb():
    grey = torch.rand(2, 8, 8)
    rgb = to_model_input(grey)
    for channel in range(3):
        expected = (grey - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        torch.testing.assert_close(rgb[:, channel], expected)


def test_pooling_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    patches, coverage = rng.normal(size=(2, 9, 4)), rng.random((2, 3, 9))
    features = pool_regions(torch.tensor(patches), torch.tensor(coverage)).numpy()
    for n in range(2):
        for r in range(3):
            mean = sum(coverage[n, r, p] * patches[n, p] for p in range(9)) / coverage[n, r].sum()
            np.testing.assert_allclose(features[n, r], mean)


def test_an_absent_region_has_zero_features():
    assert not pool_regions(torch.ones(1, 4, 2), torch.zeros(1, 1, 4)).any()
