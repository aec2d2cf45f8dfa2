"""The SAM rows with a model that knows the answer, and with Meta's predictor as the peer."""

import numpy as np
import pytest
import torch
from oracles import OracleSam, balls, bright, small_sam
from segment_anything import SamPredictor

from umsam.baselines.prompts import background_point, foreground_point, scaled_box
from umsam.baselines.sam_prompts import segment_with_boxes, segment_with_points
from umsam.data.intensity import to_rgb_uint8
from umsam.evaluation.dice import dice

SHAPE = (7, 40, 56)  # not square: SAM pads it
ORGAN = balls(SHAPE, [(3, 18, 20)], 9, (3, 1, 1))
OTHER = balls(SHAPE, [(3, 30, 45)], 6, (3, 1, 1))


@pytest.mark.parametrize("edge", ["inside", "at the edge"])
def test_an_oracle_gets_every_row_right(edge):
    organ = ORGAN if edge == "inside" else balls(SHAPE, [(3, 2, 0)], 9, (3, 1, 1))
    volume = bright(organ, OTHER)
    predictor = OracleSam()
    assert dice(segment_with_points(predictor, volume, organ, 0), organ) == 1.0
    assert predictor.asked == organ.any((1, 2)).sum()  # positive slices only
    assert dice(segment_with_boxes(predictor, volume, organ, 1.3), organ) == 1.0


def test_a_box_that_is_too_large_lets_the_neighbour_in():
    found = segment_with_boxes(OracleSam(), bright(ORGAN, OTHER), ORGAN, 4.0)
    assert (found == (ORGAN | OTHER) & ORGAN.any((1, 2))[:, None, None]).all()


def test_no_label_no_prompt():
    predictor = OracleSam()
    assert not segment_with_points(predictor, bright(ORGAN), np.zeros(SHAPE, bool), 0).any()
    assert predictor.asked == 0


def test_real_predictor_asked_by_hand():
    """The same prompts given to Meta's predictor one by one, with random weights."""
    torch.manual_seed(5)
    predictor = SamPredictor(small_sam())
    volume = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    points = segment_with_points(predictor, volume, ORGAN, 11)
    boxes = segment_with_boxes(predictor, volume, ORGAN, 1.4)
    assert points.any() and boxes.any()
    for z in np.flatnonzero(ORGAN.any((1, 2))):
        predictor.set_image(to_rgb_uint8(volume[z]))
        clicks = np.array([foreground_point(ORGAN[z]), background_point(ORGAN[z], 11 + z)])
        by_hand, _, _ = predictor.predict(clicks, np.array([1, 0]), multimask_output=False)
        assert (points[z] == by_hand[0]).all()
        by_hand, _, _ = predictor.predict(
            box=np.array(scaled_box(ORGAN[z], 1.4)), multimask_output=False
        )
        assert (boxes[z] == by_hand[0]).all()
