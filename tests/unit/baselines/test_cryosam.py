"""CryoSAM with an oracle SAM and ideal features, and its parts in closed form."""

import numpy as np
import torch
from oracles import OracleSam, balls, bright, small_sam
from segment_anything import SamPredictor

from umsam.baselines.cryosam import (
    Slices,
    centroid_feature,
    cryosam,
    find_matches,
    track_object,
)
from umsam.baselines.prompts import foreground_point, prompt_slice
from umsam.evaluation.dice import dice

SHAPE = (9, 48, 64)
SETTINGS = {
    "max_area": 0.25,
    "min_iou": 0.5,
    "similarity": 0.5,
    "ratios": [16, 8, 4],
    "top_k": 12,
}
ORGAN = balls(SHAPE, [(4, 20, 16)], 11, (2.5, 1, 1))
TWIN = balls(SHAPE, [(4, 28, 48)], 11, (2.5, 1, 1))


def features_of(*kinds):
    """Feature maps [Z, D, h, w] at a quarter of the resolution, with one direction per kind.

    Directions are mixed at borders, so the similarity is largest in the middle of an object.
    """
    groups = [np.any(kind, axis=0) for kind in kinds]
    groups.append(~np.any(groups, axis=0))
    stacked = torch.tensor(np.stack(groups, axis=1), dtype=torch.float32)
    return torch.nn.functional.avg_pool2d(stacked, 16, stride=4, padding=6).numpy()


def run(volume, features, **changes):
    predictor = OracleSam()
    z = prompt_slice(ORGAN)
    slices = Slices(predictor, volume)
    mask, count = cryosam(slices, features, z, foreground_point(ORGAN[z]), SETTINGS | changes)
    return mask, count, predictor


def test_one_click_segments_the_organ():
    mask, matches, _ = run(bright(ORGAN, TWIN), features_of([ORGAN], [TWIN]))
    assert dice(mask, ORGAN) > 0.95  # the caps are lost: the area falls by more than half there
    assert matches >= 1


def test_matching_finds_a_second_object_of_the_same_kind():
    mask, _, _ = run(bright(ORGAN, TWIN), features_of([ORGAN, TWIN]))
    assert dice(mask, ORGAN | TWIN) > 0.95


def test_an_object_above_the_area_limit_is_ignored():
    mask, matches, _ = run(bright(ORGAN), features_of([ORGAN]), max_area=0.02)
    assert not mask.any()
    assert matches == 0


def test_tracking_follows_the_object_and_ends_where_it_jumps():
    moved = np.zeros(SHAPE, bool)
    moved[:5, 10:20, 10:20] = True
    moved[5:, 30:40, 40:50] = True  # jumps to another place
    slices = Slices(OracleSam(), bright(moved))
    tracked = track_object(slices, 2, (15.0, 15.0), 0.25, 0.5)
    assert (tracked == moved & (np.arange(9) < 5)[:, None, None]).all()
    drifting = np.zeros(SHAPE, bool)
    for z in range(9):
        drifting[z, 10 + z : 24 + z, 5 + 3 * z : 19 + 3 * z] = True
    tracked = track_object(Slices(OracleSam(), bright(drifting)), 4, (24.0, 21.0), 0.25, 0.5)
    assert (tracked == drifting).all()


def test_a_slice_is_encoded_once():
    slices = Slices(OracleSam(), bright(ORGAN))
    calls = []
    encoder = slices.predictor.model.image_encoder
    encoder.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(3):
        track_object(slices, 4, (16.5, 20.5), 0.25, 0.4)
    assert 0 < len(calls) <= SHAPE[0]


def test_the_query_is_the_feature_at_the_centroid():
    ramp = np.broadcast_to(np.arange(16, dtype=np.float32), (9, 1, 12, 16)).copy()
    box = np.zeros(SHAPE, bool)
    box[3:6, 16:25, 20:31] = True  # the mean of x is 25, at (25.5 / 4) - 0.5 on the map
    assert float(centroid_feature(ramp, box)[0]) == 25.5 / 4 - 0.5


def test_matches_are_local_maxima_and_coarse_grids_prune_the_search():
    query = torch.tensor([1.0, 0.0])
    features = np.zeros((9, 2, 12, 16), np.float32)
    features[:, 1] = 1
    features[2, :, 3:6, 3:6] = np.array([1, 0])[:, None, None]
    features[7, :, 8:11, 10:13] = np.array([1, 0.1])[:, None, None]
    unpruned = find_matches(features, query, SHAPE[1:], [4], 0.5, 512)
    matches = find_matches(features, query, SHAPE[1:], [8, 4], 0.5, 512)
    assert [z for z, _ in matches][:1] == [2]  # the best first
    assert {z for z, _ in matches} == {2, 7}
    for z, (x, y) in matches:
        assert features[z, 0, int(y / 4), int(x / 4)] == 1
    assert len(unpruned) >= len(matches)
    assert find_matches(features, query, SHAPE[1:], [8, 4], 0.5, 1) == matches[:1]
    assert find_matches(features, -query, SHAPE[1:], [8, 4], 0.5, 512) == []


def test_metas_predictor_gives_the_same_mask():
    torch.manual_seed(1)
    volume = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    predictor = SamPredictor(small_sam())
    slices = Slices(predictor, volume)
    loose = SETTINGS | {"max_area": 1.0, "min_iou": 0.0, "top_k": 2}
    mask, matches = cryosam(slices, features_of([ORGAN]), 4, (16.5, 20.5), loose)
    masks, scores, _ = Slices(SamPredictor(predictor.model), volume).segment(4, (16.5, 20.5))
    acceptable = [k for k in range(3) if scores[k] > 0 and 0 < masks[k].mean() < 1]
    assert matches <= 2
    best = masks[max(acceptable, key=scores.__getitem__)]
    assert (mask[4] >= best).all()
