"""The training as a whole: learning, reproducibility, schedule, validation and failure."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from umsam.errors import InputError
from umsam.training.dataset import SliceDataset, TrainingCase
from umsam.training.settings import TrainingSettings
from umsam.training.train import mean_dsc, train
from umsam.training.unet import UNet
from umsam.training.variants import VARIANTS

SIZE = 48


def disc_volume(rng, slices=8, height=SIZE, width=SIZE):
    """Finely textured discs, which are the target, beside darker and smooth ones."""
    y, x = np.mgrid[:height, :width]
    image = np.empty((slices, height, width), np.float32)
    label = np.zeros((slices, height, width), np.uint8)
    for z in range(slices):
        fine = rng.standard_normal((height, width))
        smooth = gaussian_filter(rng.standard_normal((height, width)), 3)
        image[z] = 0.2 + 0.03 * rng.standard_normal((height, width))
        for target in (False, True):
            if target and z == 0:
                continue  # the first slice has no target
            r = rng.uniform(7, 11)
            cy, cx = rng.uniform(r, height - r), rng.uniform(r, width - r)
            disc = (y - cy) ** 2 + (x - cx) ** 2 < r * r
            image[z][disc] = (0.7 + 0.15 * fine if target else 0.45 + 0.3 * smooth)[disc]
            label[z] = disc if target else 0
    return np.clip(image, 0, 1), label


def discs(volumes, seed, features=False):
    """Training cases, with SAM features that separate disc and background if requested."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((2, 256)) * 0.3
    cases = []
    for _ in range(volumes):
        image, label = disc_volume(rng)
        share = label.reshape(len(label), 12, SIZE // 12, 12, SIZE // 12).mean(axis=(2, 4))
        classes = np.stack([1 - share, share])
        sam = np.einsum("czhw,cd->zdhw", classes, directions).astype(np.float16)
        cases.append(TrainingCase(image, label, sam if features else None))
    return cases


def settings(**changes):
    defaults = {
        "epochs": 2,
        "batch_size": 4,
        "learning_rate": 0.05,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "poly_power": 0.9,
        "patch_size": SIZE,
        "rotation": 20,
        "flip": True,
        "noise_std": 0.05,
        "noise_prob": 0.5,
        "validate_every": 1,
        "lambda_1": 0.1,
        "lambda_2": 0.01,
    }
    return TrainingSettings(**{**defaults, **changes})


def small(**changes):
    return settings(patch_size=32, batch_size=3, **changes)


def one_case(slices=2, **changes):
    image, label = disc_volume(np.random.default_rng(0), slices, **changes)
    return SliceDataset([TrainingCase(image, label)])


def weights_equal(a, b):
    return all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)


def test_triple_learns_discs_and_reduces_every_term():
    training = SliceDataset(discs(4, seed=1, features=True))
    held_out = discs(2, seed=2)
    result = train(training, VARIANTS["triple"], settings(epochs=12), 0, "cpu")
    first, last = result.history[0], result.history[-1]
    for term in ("loss", "loss_ce", "loss_dice", "loss_cfkd", "loss_cckd"):
        assert getattr(last, term) < 0.8 * getattr(first, term), term
    unet = UNet().eval()
    unet.load_state_dict(result.last.weights)
    assert mean_dsc(unet, held_out, "cpu") > 0.9


def test_the_seed_determines_the_weights():
    cases = discs(1, seed=0, features=True)
    cases = [TrainingCase(c.image[:4], c.label[:4], c.sam_features[:4]) for c in cases]
    runs = []
    for seed in (3, 3, 4):
        torch.rand(5)  # the state of torch's global generator must not matter
        runs.append(train(SliceDataset(cases), VARIANTS["triple"], small(), seed, "cpu"))
    assert weights_equal(runs[0].last, runs[1].last)
    assert not weights_equal(runs[0].last, runs[2].last)


def test_training_does_not_change_the_global_generator():
    before = torch.get_rng_state()
    train(one_case(), VARIANTS["plkd"], small(epochs=1), 0, "cpu")
    assert torch.equal(before, torch.get_rng_state())


def test_each_variant_computes_its_own_terms():
    cases = [
        TrainingCase(c.image[:3], c.label[:3], c.sam_features[:3])
        for c in discs(1, seed=0, features=True)
    ]
    rows = {
        name: train(SliceDataset(cases), variant, small(epochs=1), 0, "cpu").history[0]
        for name, variant in VARIANTS.items()
    }
    for name, row in rows.items():
        weights = (1, 1, 0.1, 0.01)
        terms = (row.loss_ce, row.loss_dice, row.loss_cfkd, row.loss_cckd)
        assert row.loss == pytest.approx(sum(w * t for w, t in zip(weights, terms, strict=True)))
        assert (row.loss_cfkd > 0, row.loss_cckd > 0) == (
            VARIANTS[name].feature,
            VARIANTS[name].contrastive,
        )
    # all variants start with the same network and the same patches
    assert len({row.loss_ce for row in rows.values()}) == 1


def test_the_learning_rate_decays_polynomially_with_every_step():
    result = train(one_case(slices=7), VARIANTS["plkd"], small(epochs=4), 0, "cpu")
    steps = 4 * math.ceil(7 / 3)
    expected = [0.05 * (1 - 3 * epoch / steps) ** 0.9 for epoch in range(4)]
    assert [row.lr for row in result.history] == pytest.approx(expected)
    assert [row.epoch for row in result.history] == [1, 2, 3, 4]


def test_the_best_epoch_has_the_best_validation_dsc():
    dataset = one_case(slices=3)
    volume = dataset.cases[0]
    result = train(dataset, VARIANTS["supervised"], small(epochs=5, validate_every=2), 0, "cpu",
                   [volume])  # fmt: skip
    dsc = {row.epoch: row.val_dsc for row in result.history if not math.isnan(row.val_dsc)}
    assert set(dsc) == {2, 4, 5}
    assert result.best.val_dsc == max(dsc.values()) == dsc[result.best.epoch]
    assert result.last.epoch == 5
    unet = UNet()
    unet.load_state_dict(result.best.weights)
    assert mean_dsc(unet, [volume], "cpu") == result.best.val_dsc


def test_a_tie_between_epochs_goes_to_the_last():
    dataset = one_case(slices=2)
    empty = TrainingCase(np.zeros((1, 32, 32), np.float32), np.zeros((1, 32, 32), np.uint8))
    dataset.cases[0].label[:] = 0
    result = train(dataset, VARIANTS["plkd"], small(epochs=6), 0, "cpu", [empty])
    ties = [row.epoch for row in result.history if row.val_dsc == result.best.val_dsc]
    assert result.best.epoch == ties[-1]


def test_validation_does_not_change_the_trained_weights():
    dataset = one_case(slices=3)
    volume = dataset.cases[0]
    without = train(dataset, VARIANTS["plkd"], small(), 0, "cpu")
    validated = train(dataset, VARIANTS["plkd"], small(), 0, "cpu", [volume])
    assert weights_equal(without.last, validated.last)
    assert without.best is without.last
    assert math.isnan(without.best.val_dsc)


def test_the_mean_dsc_counts_empty_masks():
    class Nothing(UNet):
        def forward(self, x):
            return torch.cat([torch.ones_like(x), torch.zeros_like(x)], 1), None

    empty, full = np.zeros((2, 16, 16), np.uint8), np.ones((2, 16, 16), np.uint8)
    image = np.zeros((2, 16, 16), np.float32)
    cases = [TrainingCase(image, empty), TrainingCase(image, full)]
    assert mean_dsc(Nothing(), cases, "cpu") == 0.5


def test_the_dsc_of_the_largest_component_ignores_other_components():
    class Copy(UNet):
        def forward(self, x):
            return torch.cat([0.5 - x, x - 0.5], 1), None

    label = np.zeros((2, 16, 16), np.uint8)
    label[:, 2:9, 2:9] = 1
    image = label.astype(np.float32)
    image[0, 12:15, 12:15] = 1
    case = TrainingCase(image, label)
    assert mean_dsc(Copy(), [case], "cpu") == pytest.approx(2 * 98 / (98 + 98 + 9))
    assert mean_dsc(Copy(), [case], "cpu", largest=True) == 1


def test_the_averaged_weights_follow_the_exponential_mean():
    def trained(epochs: int, average: float) -> dict[str, torch.Tensor]:
        chosen = small(epochs=epochs, poly_power=0.0, ema_decay=average)  # one step per epoch
        return train(one_case(slices=2), VARIANTS["plkd"], chosen, 0, "cpu").last.weights

    first, second, mean = trained(1, 0.0), trained(2, 0.0), trained(2, 0.9)
    for name in first:
        if first[name].is_floating_point():
            expected = 0.9 * first[name] + 0.1 * second[name]
            torch.testing.assert_close(mean[name], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("slices", [1, 4])  # 4 slices in batches of 3: the last batch holds one
def test_a_batch_of_one_slice_can_be_normalised(slices):
    result = train(one_case(slices), VARIANTS["plkd"], small(epochs=1), 0, "cpu")
    assert math.isfinite(result.history[0].loss)


def test_slices_of_different_sizes_train_together():
    rng = np.random.default_rng(0)
    cases = []
    for height, width in ((40, 56), (30, 30), (64, 33)):
        image, label = disc_volume(rng, 1, height, width)
        cases.append(TrainingCase(image, label, np.ones((1, 256, 8, 8), np.float16)))
    result = train(SliceDataset(cases), VARIANTS["triple"], small(epochs=1), 0, "cpu")
    assert math.isfinite(result.history[0].loss)


def test_empty_labels_reduce_the_loss():
    image = one_case(slices=3).cases[0].image
    dataset = SliceDataset([TrainingCase(image, np.zeros(image.shape, np.uint8))])
    assert dataset.positive_slices == 0
    result = train(dataset, VARIANTS["plkd"], small(epochs=6), 0, "cpu")
    assert result.history[-1].loss < result.history[0].loss


def test_volumes_of_several_pixel_sizes_are_resampled_to_one():
    """The network learns at 1 mm and segments at 0.5 mm, where a disc has twice as many pixels."""
    training = discs(4, seed=1)
    fine = [
        TrainingCase(
            c.image.repeat(2, 1).repeat(2, 2),
            c.label.repeat(2, 1).repeat(2, 2),
            None,
            (1.0, 0.5, 0.5),
        )
        for c in discs(2, seed=2)
    ]
    result = train(
        SliceDataset(training), VARIANTS["supervised"],
        settings(epochs=12, spacing=1.0, scaling=0.1, gamma=0.2), 0, "cpu",
    )  # fmt: skip
    assert result.last.spacing == 1.0
    unet = UNet(spacing=result.last.spacing).eval()
    unet.load_state_dict(result.last.weights)
    assert mean_dsc(unet, fine, "cpu") > 0.9


@pytest.mark.parametrize("patch_size", [16, 40, 100])
def test_a_patch_size_that_does_not_fit_the_network_is_refused(patch_size):
    with pytest.raises(InputError, match=rf"training\.patch_size is {patch_size}.*multiple of 16"):
        settings(patch_size=patch_size)


def test_divergence_raises_an_error_with_a_remedy():
    with pytest.raises(InputError, match=r"diverged in epoch \d+: .*learning_rate"):
        train(one_case(), VARIANTS["plkd"], small(learning_rate=1e18, epochs=5), 0, "cpu")
