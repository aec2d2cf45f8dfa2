"""Refined labels: the input of the decoders, the folds, the fit, and the border of the labels."""

import numpy as np
import pytest
import torch

from umsam.data.field_of_view import View
from umsam.data.volumes import Volume, write_volume
from umsam.errors import InputError
from umsam.refinement.decoder_input import (
    DecoderInput,
    average_cells,
    grid_side,
    read_decoder_input,
)
from umsam.refinement.refinement import (
    FOLDS,
    ROUNDS,
    draw_folds,
    fit_decoder,
    load_refinement,
    mean_logits,
    refine,
    threshold_logits,
)

CELLS = 8
SIDE = 16  # of the decoders' grid, two cells per cell of the embedding
VOLUME = Volume(np.zeros((2, 30, 40), np.float32), (3.0, 1.0, 1.0))


def study(cases=5, wrong=("b",), seed=0):
    """Make volumes whose noisy features separate a square, a line and the rest.

    The square is the target. The labels of the volumes `wrong` show the line instead.
    """
    rng = np.random.default_rng(seed)
    kinds = rng.normal(size=(3, 16))
    volumes, shares, truths = {}, {}, {}
    for case in "abcdefgh"[:cases]:
        kind = np.zeros((6, CELLS, CELLS), int)
        y, x = rng.integers(0, CELLS - 3, (2, 6))
        for z in range(6):
            kind[z, y[z] : y[z] + 3, x[z] : x[z] + 3] = 1
            kind[z, (y[z] + 4) % CELLS, :] = 2
        features = kinds[kind] + 0.5 * rng.normal(size=(*kind.shape, 16))
        kind = kind.repeat(2, axis=1).repeat(2, axis=2)
        truths[case] = kind == 1
        shares[case] = (kind == (2 if case in wrong else 1)).astype(np.float32)
        volumes[case] = DecoderInput(
            features.transpose(0, 3, 1, 2).astype(np.float16),
            rng.random(kind.shape, dtype=np.float32),
            3.0,
        )
    return volumes, shares, truths


@pytest.fixture(autouse=True)
def fewer_steps(monkeypatch):
    monkeypatch.setattr("umsam.refinement.refinement.STEPS", 60)
    monkeypatch.setattr("umsam.refinement.decoder_input.MIN_SIDE", SIDE)


@pytest.mark.parametrize(
    ("shape", "view"),
    [((12, 12), View(0, 0, 12, 12)), ((20, 14), View(3, 1, 10, 12)), ((9, 7), View(0, 0, 9, 7))],
)
def test_the_mean_of_a_cell_is_the_covered_fraction_of_its_pixels(shape, view):
    masks = np.random.default_rng(0).random((2, *shape)) < 0.4
    side = max(view.height, view.width)
    cells = 4
    # Split each pixel into cells x cells small ones, so that a cell has side x side of them.
    fine = np.full((2, side * cells, side * cells), np.nan)
    visible = masks[:, view.y : view.y + view.height, view.x : view.x + view.width]
    small = visible.repeat(cells, axis=1).repeat(cells, axis=2)
    fine[:, : small.shape[1], : small.shape[2]] = small
    means = average_cells(masks, view, cells)
    for i in range(cells):
        for j in range(cells):
            inside = (i + 0.5) * side / cells < view.height and (
                j + 0.5
            ) * side / cells < view.width
            part = fine[:, i * side : (i + 1) * side, j * side : (j + 1) * side]
            for z in range(2):
                expected = np.nanmean(part[z]) if inside else np.nan
                assert means[z, i, j] == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_a_finer_grid_repeats_the_pixels_of_the_view():
    view = View(2, 1, 6, 5)
    image = np.random.default_rng(0).random((3, 10, 9)).astype(np.float32)
    means = average_cells(image, view, 12)  # 2 x 2 cells per pixel
    expected = image[:, *view.window].repeat(2, axis=1).repeat(2, axis=2)
    assert means[:, :, :10] == pytest.approx(expected, abs=1e-6)
    assert np.isnan(means[:, :, 10:]).all()


@pytest.mark.parametrize("count", [2, 3, 4, 9])
def test_each_round_labels_every_case_once_by_a_decoder_of_other_cases(count):
    cases = [str(i) for i in range(count)]
    folds = list(draw_folds(cases, seed=1))
    per_round = min(FOLDS, count)
    assert len(folds) == ROUNDS * per_round
    for training_cases, labelled in folds:
        assert sorted(training_cases + labelled) == cases
        assert training_cases
    for i in range(ROUNDS):
        in_round = folds[i * per_round : (i + 1) * per_round]
        assert sorted(case for _, labelled in in_round for case in labelled) == cases


def test_a_decoder_learns_the_logits_of_two_normal_distributions(monkeypatch):
    monkeypatch.setattr("umsam.refinement.refinement.STEPS", 400)
    # The logit of N(1, 1) against N(-1, 1) at x is 2 x if both are equally frequent; the other
    # channels are noise. All cells of a slice are alike, so the neighbours of a cell add nothing.
    rng = np.random.default_rng(0)
    target = rng.random(1000) < 0.5
    features = rng.normal(size=(1000, 4, 1, 1)) * np.ones((1, 1, CELLS, CELLS))
    features[:, 0] += 2 * target[:, None, None] - 1
    share = np.ones((1000, SIDE, SIDE), np.float32) * target[:, None, None]
    image = np.full_like(share, 0.5)
    torch.manual_seed(0)
    volume = DecoderInput(30 * features + 100, image, 1.0)  # the scale must not matter
    decoder = fit_decoder([(volume, share)])
    x = torch.zeros(9, 4, CELLS, CELLS)
    x[:, 0] = torch.linspace(-2, 2, 9)[:, None, None]
    with torch.no_grad():
        logits = decoder(30 * x + 100, torch.from_numpy(image[:9]))[:, SIDE // 2, SIDE // 2]
    expected = 2 * torch.linspace(-2, 2, 9)
    assert torch.corrcoef(torch.stack([logits, expected]))[0, 1] > 0.98
    assert (torch.sigmoid(logits) - torch.sigmoid(expected)).abs().max() < 0.15


def test_the_image_places_the_border_between_cells_of_the_embedding():
    # A target of 7 x 7 fine cells; a cell of the embedding holds 2 x 2 of them and shows no border.
    rng = np.random.default_rng(0)
    truth = np.zeros((60, SIDE, SIDE), bool)
    for z, (y, x) in enumerate(rng.integers(0, SIDE - 7, (60, 2))):
        truth[z, y : y + 7, x : x + 7] = True
    coarse = truth.reshape(60, CELLS, 2, CELLS, 2).any(axis=(2, 4))
    features = np.stack([coarse, ~coarse], axis=1).astype(np.float32)
    features += rng.normal(0, 0.1, features.shape).astype(np.float32)
    image = (0.3 + 0.4 * truth + rng.normal(0, 0.05, truth.shape)).astype(np.float32)
    torch.manual_seed(0)
    volume = DecoderInput(features[:50], image[:50], 1.0)
    decoder = fit_decoder([(volume, truth[:50].astype(np.float32))])
    with torch.no_grad():
        logits = decoder(torch.from_numpy(features[50:]), torch.from_numpy(image[50:])).numpy()

    def dsc(mask):
        both = np.count_nonzero(mask & truth[50:])
        return 2 * both / (np.count_nonzero(mask) + np.count_nonzero(truth[50:]))

    embedding_mask = coarse[50:].repeat(2, axis=1).repeat(2, axis=2)
    assert dsc(embedding_mask) < 0.9
    assert dsc(logits > 0) > 0.95


def test_a_volume_with_wrong_labels_is_corrected():
    volumes, shares, truths = study(8)
    refinement = refine(volumes, shares, seed=0)
    for case, volume in volumes.items():
        target = refinement.predict_logits(case, volume) >= refinement.threshold
        both = 2 * np.count_nonzero(target & truths[case])
        dsc = both / (np.count_nonzero(target) + np.count_nonzero(truths[case]))
        assert dsc > 0.8, case
    assert not ((shares["b"] > 0) & truths["b"]).any()


def test_decoders_trained_on_a_case_do_not_label_it():
    volumes, shares, _ = study()
    refinement = refine(volumes, shares, seed=0)
    volume = volumes["a"]
    before, for_new_case = (
        refinement.predict_logits("a", volume),
        refinement.predict_logits("new", volume),
    )
    features, image = torch.from_numpy(volume.features.astype(np.float32)), volume.image
    logits = []
    for member in refinement.members:
        with torch.no_grad():
            logits.append(member.decoder(features, torch.from_numpy(image)).numpy())
            if "a" in member.training_cases:
                member.decoder.head.weight.fill_(torch.nan)
    assert refinement.predict_logits("a", volume) == pytest.approx(before, abs=1e-5)
    assert for_new_case == pytest.approx(np.mean(logits, axis=0), abs=1e-4)
    assert np.isnan(refinement.predict_logits("new", volume)).all()


def test_refined_labels_cover_as_much_as_the_pseudo_labels():
    volumes, shares, _ = study(seed=3)
    refinement = refine(volumes, shares, seed=0)
    covered = [
        refinement.predict_logits(case, v) >= refinement.threshold for case, v in volumes.items()
    ]
    expected_fraction = np.mean(list(shares.values()))
    assert np.mean(covered) == pytest.approx(expected_fraction, abs=1.5 / np.size(covered))
    both = sum((share * c).sum() for share, c in zip(shares.values(), covered, strict=True))
    dsc = 2 * both / (np.sum(covered) + sum(share.sum() for share in shares.values()))
    assert refinement.agreement == pytest.approx(dsc)


def test_padding_does_not_affect_threshold_and_agreement():
    volumes, shares, truths = study()
    for case in volumes:
        volumes[case].image[:, SIDE - 2 :] = np.nan
        shares[case][:, SIDE - 2 :] = np.nan
    refinement = refine(volumes, shares, seed=0)
    assert np.isfinite(refinement.threshold)
    assert 0 < refinement.agreement <= 1
    target = refinement.predict_logits("b", volumes["b"]) >= refinement.threshold
    inside = np.s_[:, : SIDE - 2]
    assert (target == truths["b"])[inside].mean() > 0.9


def test_the_seed_determines_the_networks_and_they_survive_a_round_trip(tmp_path):
    volumes, shares, _ = study(3)
    first, again, other = (refine(volumes, shares, seed) for seed in (0, 0, 1))
    first.save(tmp_path / "networks.pt")
    loaded = load_refinement(tmp_path / "networks.pt")
    cases, *others = ([m.training_cases for m in r.members] for r in (first, again, loaded))
    assert others == [cases, cases]
    assert loaded.threshold == first.threshold == again.threshold
    assert loaded.agreement == first.agreement == again.agreement
    logits = [r.predict_logits("a", volumes["a"]) for r in (first, again, loaded, other)]
    assert np.array_equal(logits[0], logits[1])
    assert np.array_equal(logits[0], logits[2])
    assert not np.array_equal(logits[0], logits[3])


def test_smoothed_logits_are_gaussian_means_and_cover_as_much():
    volumes, shares, _ = study(3)
    refinement = refine(volumes, shares, 0, smooth=4.0)
    for case, volume in volumes.items():
        unsmoothed = mean_logits(refinement.members, case, volume)
        z = np.arange(-30, len(unsmoothed) + 30)  # the first and last slices are repeated
        apart = volume.spacing * (z - np.arange(len(unsmoothed))[:, None])  # mm
        weights = np.exp(-((apart / 4.0) ** 2) / 2)
        weights /= weights.sum(axis=1, keepdims=True)
        expected = np.tensordot(weights, unsmoothed[np.clip(z, 0, len(unsmoothed) - 1)], axes=1)
        np.testing.assert_allclose(refinement.predict_logits(case, volume), expected, atol=2e-3)
    covered = [
        refinement.predict_logits(case, v) >= refinement.threshold for case, v in volumes.items()
    ]
    expected_fraction = np.mean([share.mean() for share in shares.values()])
    assert np.mean(covered) == pytest.approx(expected_fraction, abs=0.01)


def test_smoothing_helps_on_slices_with_weak_evidence():
    """The same square on all slices, noisy features, and every fourth label wrong."""
    rng = np.random.default_rng(0)
    volumes, shares, truths = {}, {}, {}
    for case in "abcd":
        truth = np.zeros((12, CELLS, CELLS), bool)
        y, x = rng.integers(0, CELLS - 3, 2)
        truth[:, y : y + 4, x : x + 4] = True
        label = truth.copy()
        label[::4] = np.roll(truth[::4], 3, axis=2)
        features = truth[:, None] + rng.normal(size=(12, 16, CELLS, CELLS))
        truths[case] = truth.repeat(2, axis=1).repeat(2, axis=2)
        shares[case] = label.repeat(2, axis=1).repeat(2, axis=2).astype(np.float32)
        image = np.full(truths[case].shape, 0.5, np.float32)
        volumes[case] = DecoderInput(features.astype(np.float16), image, 3.0)

    def accuracy(smooth):
        refinement = refine(volumes, shares, 0, smooth)
        return np.mean(
            [
                (refinement.predict_logits(c, v) >= refinement.threshold) == truths[c]
                for c, v in volumes.items()
            ]
        )

    assert accuracy(6.0) > accuracy(0.0) + 0.02


def test_fitting_does_not_change_the_global_generator():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    refine(*study(2)[:2], seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_empty_labels_stay_empty():
    volumes, shares, _ = study(2)
    for share in shares.values():
        share[:] = 0
    refinement = refine(volumes, shares, seed=0)
    assert not (refinement.predict_logits("a", volumes["a"]) >= refinement.threshold).any()


def test_a_single_training_volume_is_refused():
    with pytest.raises(InputError, match=r"refined_labels .* the training split has 1"):
        refine(*study(1)[:2], seed=0)


@pytest.mark.parametrize(("cells", "side"), [(24, 96), (64, 128)])
def test_the_grid_is_at_least_twice_as_fine_as_the_embedding(monkeypatch, tmp_path, cells, side):
    monkeypatch.undo()
    assert grid_side(cells) == side
    write_volume(tmp_path / "v.nii.gz", np.zeros((2, 30, 40), np.float32), like=VOLUME)
    np.save(tmp_path / "v.npy", np.zeros((2, 4, cells, cells), np.float16))
    volume, view, decoder_input = read_decoder_input(
        tmp_path / "v.nii.gz", tmp_path / "v.npy", None
    )
    assert volume.array.shape == (2, 30, 40)
    assert view == View(0, 0, 30, 40)
    assert decoder_input.spacing == 3.0
    assert decoder_input.image.shape == decoder_input.inside.shape == (2, side, side)
    assert decoder_input.inside.mean() == pytest.approx(0.75)


def test_the_border_is_where_the_interpolated_logits_reach_the_threshold():
    # The logits rise by 1 per cell from 0.5 at the first centre, so they reach 2 after two cells.
    logits = np.tile(np.arange(4, dtype=np.float32) + 0.5, (1, 4, 1))
    view = View(
        2, 3, 16, 12
    )  # the square has a side of 16, a cell 4 pixels; the last column is padding
    label = threshold_logits(logits, 2.0, (20, 24), view)
    expected = np.zeros((1, 20, 24), np.uint8)
    expected[:, 2:18, 3 + 8 : 3 + 12] = 1
    assert np.array_equal(label, expected)
