"""Labels learnt from other volumes: what each network sees, what it learns, and where it draws."""

import numpy as np
import pytest
import torch

from umsam.errors import InputError
from umsam.pseudo_labels import refinement
from umsam.pseudo_labels.field_of_view import View
from umsam.pseudo_labels.refinement import (
    FOLDS,
    ROUNDS,
    LabelledFeatures,
    fit_network,
    folds,
    load_refinement,
    refine,
    refined_label,
    share_of_cells,
)

CELLS = 8


def log_odds(found, case, features):
    return refinement.log_odds(found.networks, found.learnt_from, case, features)


def study(cases=5, wrong=("b",), seed=0):
    """Volumes whose features tell a square from a disc and both from the rest, with noise.

    The square is the target. The labels of the volumes `wrong` show the disc in its place.
    """
    rng = np.random.default_rng(seed)
    kinds = rng.normal(size=(3, 16))
    volumes, truths = {}, {}
    for case in "abcdefgh"[:cases]:
        kind = np.zeros((6, CELLS, CELLS), int)
        y, x = rng.integers(0, CELLS - 3, (2, 6))
        for z in range(6):
            kind[z, y[z] : y[z] + 3, x[z] : x[z] + 3] = 1
            kind[z, (y[z] + 4) % CELLS, :] = 2
        features = kinds[kind] + 0.5 * rng.normal(size=(*kind.shape, 16))
        truths[case] = kind == 1
        label = kind == (2 if case in wrong else 1)
        volumes[case] = LabelledFeatures(
            features.transpose(0, 3, 1, 2).astype(np.float16), label.astype(np.float32)
        )
    return volumes, truths


@pytest.fixture(autouse=True)
def fewer_steps(monkeypatch):
    monkeypatch.setattr("umsam.pseudo_labels.refinement.STEPS", 100)


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
    found = share_of_cells(masks, view, cells)
    for i in range(cells):
        for j in range(cells):
            inside = (i + 0.5) * side / cells < view.height and (
                j + 0.5
            ) * side / cells < view.width
            part = fine[:, i * side : (i + 1) * side, j * side : (j + 1) * side]
            for z in range(2):
                expected = np.nanmean(part[z]) if inside else np.nan
                assert found[z, i, j] == pytest.approx(expected, abs=1e-6, nan_ok=True)


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


def test_a_network_finds_the_odds_of_two_normal_distributions(monkeypatch):
    monkeypatch.undo()
    # of N(1, 1) and N(-1, 1), equally frequent, the log odds at x are 2 x; the rest is noise
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(20000, generator=generator) < 0.5).float()
    features = torch.randn(20000, 8, generator=generator)
    features[:, 0] += 2 * target - 1
    features = 30 * features + 100  # whatever their unit
    torch.manual_seed(0)
    network = fit_network(features, target)
    x = torch.zeros(9, 8)
    x[:, 0] = torch.linspace(-2, 2, 9)
    with torch.no_grad():
        odds = network(30 * x + 100)
    assert torch.corrcoef(torch.stack([odds, 2 * x[:, 0]]))[0, 1] > 0.99
    probability_error = (torch.sigmoid(odds) - torch.sigmoid(2 * x[:, 0])).abs()
    assert probability_error.max() < 0.08


def test_a_volume_whose_labels_show_another_thing_is_put_right():
    volumes, truths = study()
    found = refine(volumes, seed=0)
    for case, volume in volumes.items():
        target = log_odds(found, case, volume.features) >= found.threshold
        both = 2 * np.count_nonzero(target & truths[case])
        dsc = both / (np.count_nonzero(target) + np.count_nonzero(truths[case]))
        assert dsc > 0.8, case
    given = volumes["b"].share > 0
    assert not (given & truths["b"]).any()


def test_networks_that_have_learnt_from_a_case_have_no_say_in_it():
    volumes, _ = study()
    found = refine(volumes, seed=0)
    features = volumes["a"].features
    before, of_new = log_odds(found, "a", features), log_odds(found, "new", features)
    means = []
    for network, learnt_from in zip(found.networks, found.learnt_from, strict=True):
        cells = torch.from_numpy(features.astype(np.float32)).permute(0, 2, 3, 1)
        with torch.no_grad():
            means.append(network(cells.reshape(-1, 16)).reshape(cells.shape[:3]).numpy())
            if "a" in learnt_from:
                network.layers[0].weight.fill_(torch.nan)
    assert log_odds(found, "a", features) == pytest.approx(before, abs=1e-5)
    assert of_new == pytest.approx(np.mean(means, axis=0), abs=1e-5)
    assert np.isnan(log_odds(found, "new", features)).all()


def test_the_labels_cover_as_much_as_those_they_are_learnt_from():
    volumes, _ = study(seed=3)
    found = refine(volumes, seed=0)
    covered = [log_odds(found, case, v.features) >= found.threshold for case, v in volumes.items()]
    wanted = np.mean([v.share for v in volumes.values()])
    assert np.mean(covered) == pytest.approx(wanted, abs=1.5 / np.size(covered))
    both = sum((v.share * c).sum() for v, c in zip(volumes.values(), covered, strict=True))
    dsc = 2 * both / (np.sum(covered) + sum(v.share.sum() for v in volumes.values()))
    assert found.agreement == pytest.approx(dsc)


def test_what_is_padded_and_what_is_drawn_leave_no_trace(monkeypatch):
    volumes, truths = study()
    for volume in volumes.values():
        volume.features[:, :, CELLS - 1] = np.nan
        volume.share[:, CELLS - 1] = np.nan
    monkeypatch.setattr("umsam.pseudo_labels.refinement.MOST_PLACES", 800)  # of 1680
    found = refine(volumes, seed=0)
    assert np.isfinite(found.threshold)
    target = log_odds(found, "b", volumes["b"].features) >= found.threshold
    inside = np.s_[:, : CELLS - 1]
    agree = (target == truths["b"])[inside].mean()
    assert agree > 0.9


def test_the_same_seed_gives_the_same_networks_and_they_load(tmp_path):
    volumes, _ = study(3)
    first, again, other = (refine(volumes, seed) for seed in (0, 0, 1))
    first.save(tmp_path / "networks.pt")
    loaded = load_refinement(tmp_path / "networks.pt")
    assert loaded.learnt_from == first.learnt_from == again.learnt_from
    assert loaded.threshold == first.threshold == again.threshold
    assert loaded.agreement == first.agreement == again.agreement
    odds = [log_odds(r, "a", volumes["a"].features) for r in (first, again, loaded, other)]
    assert np.array_equal(odds[0], odds[1])
    assert np.array_equal(odds[0], odds[2])
    assert not np.array_equal(odds[0], odds[3])


def test_pytorch_s_generator_is_left_as_it_was():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    refine(study(2)[0], seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_empty_labels_stay_empty():
    volumes, _ = study(2)
    for volume in volumes.values():
        volume.share[:] = 0
    found = refine(volumes, seed=0)
    assert not (log_odds(found, "a", volumes["a"].features) >= found.threshold).any()


def test_one_volume_has_no_others_to_learn_from():
    with pytest.raises(InputError, match=r"refined_labels .* the training split has 1"):
        refine(study(1)[0], seed=0)


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
