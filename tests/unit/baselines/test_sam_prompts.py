"""SAM with prompts: an oracle model, and agreement with Meta's predictor."""

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
def test_masks_are_exact_with_an_oracle(edge):
    organ = ORGAN if edge == "inside" else balls(SHAPE, [(3, 2, 0)], 9, (3, 1, 1))
    volume = bright(organ, OTHER)
    predictor = OracleSam()
    assert dice(segment_with_points(predictor, volume, organ, 0), organ) == 1.0
    assert predictor.calls == organ.any((1, 2)).sum()  # positive slices only
    assert dice(segment_with_boxes(predictor, volume, organ, 1.3), organ) == 1.0


def test_a_large_box_includes_the_neighbouring_object():
    mask = segment_with_boxes(OracleSam(), bright(ORGAN, OTHER), ORGAN, 4.0)
    assert (mask == (ORGAN | OTHER) & ORGAN.any((1, 2))[:, None, None]).all()


def test_without_a_label_there_is_no_prompt():
    predictor = OracleSam()
    assert not segment_with_points(predictor, bright(ORGAN), np.zeros(SHAPE, bool), 0).any()
    assert predictor.calls == 0


def test_masks_equal_those_of_metas_predictor():
    """Meta's predictor with random weights gets the same prompts one by one."""
    torch.manual_seed(5)
    predictor = SamPredictor(small_sam())
    volume = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    points = segment_with_points(predictor, volume, ORGAN, 11)
    boxes = segment_with_boxes(predictor, volume, ORGAN, 1.4)
    assert points.any()
    assert boxes.any()
    for z in np.flatnonzero(ORGAN.any((1, 2))):
        predictor.set_image(to_rgb_uint8(volume[z]))
        clicks = np.array([foreground_point(ORGAN[z]), background_point(ORGAN[z], 11 + z)])
        expected, _, _ = predictor.predict(clicks, np.array([1, 0]), multimask_output=False)
        assert (points[z] == expected[0]).all()
        expected, _, _ = predictor.predict(
            box=np.array(scaled_box(ORGAN[z], 1.4)), multimask_output=False
        )
        assert (boxes[z] == expected[0]).all()
