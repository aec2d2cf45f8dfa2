"""Labels learnt from other volumes: what each network sees, what it learns, and where it draws."""

import numpy as np
import pytest
import torch

from umsam.data.volumes import Volume, write_volume
from umsam.errors import InputError
from umsam.data.field_of_view import View
from umsam.refinement.refinement import (
    FOLDS,
    ROUNDS,
    SeenVolume,
    fit_decoder,
    folds,
    grid_side,
    load_refinement,
    log_odds,
    means_of_cells,
    read_seen,
    refine,
    refined_label,
)

CELLS = 8
SIDE = 16  # of the grid, two to a cell
VOLUME = Volume(np.zeros((2, 30, 40), np.float32), (3.0, 1.0, 1.0))


def study(cases=5, wrong=("b",), seed=0):
    """Volumes whose features tell a square from a line and both from the rest, with noise.

    The square is the target. The labels of the volumes `wrong` show the line in its place.
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
        volumes[case] = SeenVolume(
            features.transpose(0, 3, 1, 2).astype(np.float16),
            rng.random(kind.shape, dtype=np.float32),
            3.0,
        )
    return volumes, shares, truths


@pytest.fixture(autouse=True)
def fewer_steps(monkeypatch):
    monkeypatch.setattr("umsam.pseudo_labels.refinement.STEPS", 60)
    monkeypatch.setattr("umsam.pseudo_labels.refinement.LEAST_SIDE", SIDE)


@pytest.mark.parametrize(
    ("shape", "view"),
    [((12, 12), View(0, 0, 12, 12)), ((20, 14), View(3, 1, 10, 12)), ((9, 7), View(0, 0, 9, 7))],
)
def test_the_share_of_a_cell_is_that_of_its_pixels(shape, view):
    masks = np.random.default_rng(0).random((2, *shape)) < 0.4
    side = max(view.height, view.width)
    cells = 4
    # each pixel as cells x cells small ones: then a cell is side x side of them
    fine = np.full((2, side * cells, side * cells), np.nan)
    seen = masks[:, view.y : view.y + view.height, view.x : view.x + view.width]
    small = seen.repeat(cells, axis=1).repeat(cells, axis=2)
    fine[:, : small.shape[1], : small.shape[2]] = small
    found = means_of_cells(masks, view, cells)
    for i in range(cells):
        for j in range(cells):
            inside = (i + 0.5) * side / cells < view.height and (
                j + 0.5
            ) * side / cells < view.width
            part = fine[:, i * side : (i + 1) * side, j * side : (j + 1) * side]
            for z in range(2):
                expected = np.nanmean(part[z]) if inside else np.nan
                assert found[z, i, j] == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_the_image_of_a_finer_grid_is_that_of_the_view_and_its_mean_stays():
    view = View(2, 1, 6, 5)
    image = np.random.default_rng(0).random((3, 10, 9)).astype(np.float32)
    seen = means_of_cells(image, view, 12)  # 2 x 2 cells to a pixel
    expected = image[:, *view.window].repeat(2, axis=1).repeat(2, axis=2)
    assert seen[:, :, :10] == pytest.approx(expected, abs=1e-6)
    assert np.isnan(seen[:, :, 10:]).all()


@pytest.mark.parametrize("count", [2, 3, 4, 9])
def test_every_case_is_labelled_once_a_round_by_what_has_not_seen_it(count):
    cases = [str(i) for i in range(count)]
    dealt = list(folds(cases, seed=1))
    per_round = min(FOLDS, count)
    assert len(dealt) == ROUNDS * per_round
    for learnt_from, labelled in dealt:
        assert sorted(learnt_from + labelled) == cases
        assert learnt_from
    for i in range(ROUNDS):
        of_round = dealt[i * per_round : (i + 1) * per_round]
        assert sorted(case for _, labelled in of_round for case in labelled) == cases


def test_a_decoder_finds_the_odds_of_two_normal_distributions(monkeypatch):
    monkeypatch.setattr("umsam.pseudo_labels.refinement.STEPS", 400)
    # of N(1, 1) and N(-1, 1), equally frequent, the log odds at x are 2 x; the rest is noise. All
    # cells of a slice are alike, so that what is around a cell tells no more than the cell.
    rng = np.random.default_rng(0)
    target = rng.random(1000) < 0.5
    features = rng.normal(size=(1000, 4, 1, 1)) * np.ones((1, 1, CELLS, CELLS))
    features[:, 0] += 2 * target[:, None, None] - 1
    share = np.ones((1000, SIDE, SIDE), np.float32) * target[:, None, None]
    image = np.full_like(share, 0.5)
    torch.manual_seed(0)
    seen = SeenVolume(30 * features + 100, image, 1.0)  # whatever their unit
    decoder = fit_decoder([(seen, share)])
    x = torch.zeros(9, 4, CELLS, CELLS)
    x[:, 0] = torch.linspace(-2, 2, 9)[:, None, None]
    with torch.no_grad():
        odds = decoder(30 * x + 100, torch.from_numpy(image[:9]))[:, SIDE // 2, SIDE // 2]
    expected = 2 * torch.linspace(-2, 2, 9)
    assert torch.corrcoef(torch.stack([odds, expected]))[0, 1] > 0.98
    assert (torch.sigmoid(odds) - torch.sigmoid(expected)).abs().max() < 0.15


def test_the_border_between_cells_of_the_embedding_is_the_image_s():
    # a target of 7 x 7 small cells: two to a cell of the embedding, whose share tells no border
    rng = np.random.default_rng(0)
    truth = np.zeros((60, SIDE, SIDE), bool)
    for z, (y, x) in enumerate(rng.integers(0, SIDE - 7, (60, 2))):
        truth[z, y : y + 7, x : x + 7] = True
    coarse = truth.reshape(60, CELLS, 2, CELLS, 2).any(axis=(2, 4))
    features = np.stack([coarse, ~coarse], axis=1).astype(np.float32)
    features += rng.normal(0, 0.1, features.shape).astype(np.float32)
    image = (0.3 + 0.4 * truth + rng.normal(0, 0.05, truth.shape)).astype(np.float32)
    torch.manual_seed(0)
    seen = SeenVolume(features[:50], image[:50], 1.0)
    decoder = fit_decoder([(seen, truth[:50].astype(np.float32))])
    with torch.no_grad():
        odds = decoder(torch.from_numpy(features[50:]), torch.from_numpy(image[50:])).numpy()

    def dsc(found):
        both = np.count_nonzero(found & truth[50:])
        return 2 * both / (np.count_nonzero(found) + np.count_nonzero(truth[50:]))

    of_the_embedding = coarse[50:].repeat(2, axis=1).repeat(2, axis=2)
    assert dsc(of_the_embedding) < 0.9
    assert dsc(odds > 0) > 0.95


def test_a_volume_whose_labels_show_another_thing_is_put_right():
    volumes, shares, truths = study(8)
    found = refine(volumes, shares, seed=0)
    for case, volume in volumes.items():
        target = found.odds(case, volume) >= found.threshold
        both = 2 * np.count_nonzero(target & truths[case])
        dsc = both / (np.count_nonzero(target) + np.count_nonzero(truths[case]))
        assert dsc > 0.8, case
    assert not ((shares["b"] > 0) & truths["b"]).any()


def test_decoders_that_have_learnt_from_a_case_have_no_say_in_it():
    volumes, shares, _ = study()
    found = refine(volumes, shares, seed=0)
    volume = volumes["a"]
    before, of_new = found.odds("a", volume), found.odds("new", volume)
    features, image = torch.from_numpy(volume.features.astype(np.float32)), volume.image
    odds = []
    for member in found.members:
        with torch.no_grad():
            odds.append(member.decoder(features, torch.from_numpy(image)).numpy())
            if "a" in member.learnt_from:
                member.decoder.head.weight.fill_(torch.nan)
    assert found.odds("a", volume) == pytest.approx(before, abs=1e-5)
    assert of_new == pytest.approx(np.mean(odds, axis=0), abs=1e-4)
    assert np.isnan(found.odds("new", volume)).all()


def test_the_labels_cover_as_much_as_those_they_are_learnt_from():
    volumes, shares, _ = study(seed=3)
    found = refine(volumes, shares, seed=0)
    covered = [found.odds(case, v) >= found.threshold for case, v in volumes.items()]
    wanted = np.mean(list(shares.values()))
    assert np.mean(covered) == pytest.approx(wanted, abs=1.5 / np.size(covered))
    both = sum((share * c).sum() for share, c in zip(shares.values(), covered, strict=True))
    dsc = 2 * both / (np.sum(covered) + sum(share.sum() for share in shares.values()))
    assert found.agreement == pytest.approx(dsc)


def test_what_is_padded_has_no_part_in_threshold_and_agreement():
    volumes, shares, truths = study()
    for case in volumes:
        volumes[case].image[:, SIDE - 2 :] = np.nan
        shares[case][:, SIDE - 2 :] = np.nan
    found = refine(volumes, shares, seed=0)
    assert np.isfinite(found.threshold)
    assert 0 < found.agreement <= 1
    target = found.odds("b", volumes["b"]) >= found.threshold
    inside = np.s_[:, : SIDE - 2]
    assert (target == truths["b"])[inside].mean() > 0.9


def test_the_same_seed_gives_the_same_networks_and_they_load(tmp_path):
    volumes, shares, _ = study(3)
    first, again, other = (refine(volumes, shares, seed) for seed in (0, 0, 1))
    first.save(tmp_path / "networks.pt")
    loaded = load_refinement(tmp_path / "networks.pt")
    dealt, *others = ([m.learnt_from for m in r.members] for r in (first, again, loaded))
    assert others == [dealt, dealt]
    assert loaded.threshold == first.threshold == again.threshold
    assert loaded.agreement == first.agreement == again.agreement
    odds = [r.odds("a", volumes["a"]) for r in (first, again, loaded, other)]
    assert np.array_equal(odds[0], odds[1])
    assert np.array_equal(odds[0], odds[2])
    assert not np.array_equal(odds[0], odds[3])


def test_smoothed_odds_are_those_of_neighbouring_slices_and_cover_as_much():
    volumes, shares, _ = study(3)
    found = refine(volumes, shares, 0, smooth=4.0)
    for case, volume in volumes.items():
        alone = log_odds(found.members, case, volume)
        z = np.arange(-30, len(alone) + 30)  # the first and the last slice go on
        apart = volume.step * (z - np.arange(len(alone))[:, None])  # mm
        weights = np.exp(-((apart / 4.0) ** 2) / 2)
        weights /= weights.sum(axis=1, keepdims=True)
        expected = np.tensordot(weights, alone[np.clip(z, 0, len(alone) - 1)], axes=1)
        np.testing.assert_allclose(found.odds(case, volume), expected, atol=2e-3)
    covered = [found.odds(case, v) >= found.threshold for case, v in volumes.items()]
    wanted = np.mean([share.mean() for share in shares.values()])
    assert np.mean(covered) == pytest.approx(wanted, abs=0.01)


def test_neighbouring_slices_help_where_a_slice_tells_little():
    """The same square on all slices, in noisy features, with one label in four wrong."""
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
        volumes[case] = SeenVolume(features.astype(np.float16), image, 3.0)

    def right(smooth):
        found = refine(volumes, shares, 0, smooth)
        return np.mean(
            [(found.odds(c, v) >= found.threshold) == truths[c] for c, v in volumes.items()]
        )

    assert right(6.0) > right(0.0) + 0.02


def test_pytorch_s_generator_is_left_as_it_was():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    refine(*study(2)[:2], seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_empty_labels_stay_empty():
    volumes, shares, _ = study(2)
    for share in shares.values():
        share[:] = 0
    found = refine(volumes, shares, seed=0)
    assert not (found.odds("a", volumes["a"]) >= found.threshold).any()


def test_one_volume_has_no_others_to_learn_from():
    with pytest.raises(InputError, match=r"refined_labels .* the training split has 1"):
        refine(*study(1)[:2], seed=0)


@pytest.mark.parametrize(("cells", "side"), [(24, 96), (64, 128)])
def test_the_grid_is_at_least_twice_as_fine_as_the_embedding(monkeypatch, tmp_path, cells, side):
    monkeypatch.undo()
    assert grid_side(cells) == side
    write_volume(tmp_path / "v.nii.gz", np.zeros((2, 30, 40), np.float32), like=VOLUME)
    np.save(tmp_path / "v.npy", np.zeros((2, 4, cells, cells), np.float16))
    volume, view, seen = read_seen(tmp_path / "v.nii.gz", tmp_path / "v.npy", None)
    assert volume.array.shape == (2, 30, 40) and view == View(0, 0, 30, 40)
    assert seen.step == 3.0
    assert seen.image.shape == seen.inside.shape == (2, side, side)
    assert seen.inside.mean() == pytest.approx(0.75)


def test_the_border_is_where_the_odds_between_cells_reach_the_threshold():
    # odds rise by 1 a cell, from 0.5 in the middle of the first: they reach 2 at two cells' width
    odds = np.tile(np.arange(4, dtype=np.float32) + 0.5, (1, 4, 1))
    view = View(
        2, 3, 16, 12
    )  # the square has a side of 16: a cell is 4 pixels, the last one padded
    label = refined_label(odds, 2.0, (20, 24), view)
    expected = np.zeros((1, 20, 24), np.uint8)
    expected[:, 2:18, 3 + 8 : 3 + 12] = 1
    assert np.array_equal(label, expected)
