"""The overview figure: its panels, contours and enlargement."""

from dataclasses import replace

import numpy as np
import pytest

from umsam.figures.overview import Stages, overview_figure, select_slice
from umsam.figures.style import Style


def box(shape, rows, columns):
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


@pytest.fixture
def stages():
    rois = np.stack(
        [
            box((20, 30), slice(0, 20), slice(0, 29)),  # nearly the whole slice
            box((20, 30), slice(5, 9), slice(5, 9)),
            box((20, 30), slice(12, 18), slice(20, 26)),
        ]
    )
    return Stages(
        image=np.full((20, 30), 0.5),
        rois=rois,
        valid=np.array([False, False, True]),
        pseudo_label=rois[2],
        prediction=rois[2],
        label=None,
        pixel=(2.0, 1.0),
    )


def test_each_panel_shows_its_rois(stages):
    panels = overview_figure(stages, Style()).axes
    assert len(panels) == 5
    painted = [panels[k].images[1].get_array()[..., 3] > 0 for k in (1, 2)]
    assert np.array_equal(
        painted[0], stages.rois[1] | stages.rois[2]
    )  # the huge one would hide them
    assert np.array_equal(painted[1], stages.rois[2])
    assert [panel.images[0].axes.get_aspect() for panel in panels] == [2.0] * 5
    assert "3 ROIs" in panels[1].get_title()
    assert "1 ROIs" in panels[2].get_title()


def test_a_label_adds_a_contour_and_the_legend(stages):
    without = overview_figure(stages, Style())
    with_label = overview_figure(replace(stages, label=stages.rois[2]), Style())
    for panel in (3, 4):
        assert len(with_label.axes[panel].lines) == len(without.axes[panel].lines) + 1
    assert not without.legends
    (legend,) = with_label.legends
    assert [text.get_text() for text in legend.get_texts()] == ["found", "manual label"]
    drawn = {line.get_color() for line in with_label.axes[4].lines}
    assert {line.get_color() for line in legend.get_lines()} == drawn


def test_the_last_two_panels_are_enlarged_around_the_target(stages):
    large = Stages(
        image=np.zeros((200, 300)),
        rois=np.zeros((0, 200, 300), bool),
        valid=np.zeros(0, bool),
        pseudo_label=box((200, 300), slice(0, 200), slice(0, 300)),
        prediction=box((200, 300), slice(90, 110), slice(140, 180)),
        label=None,
        pixel=(2.0, 1.0),
    )
    first, *_, pseudo_label, prediction = overview_figure(large, Style()).axes
    assert first.get_xlim() == (-0.5, 299.5)
    for axes in (pseudo_label, prediction):  # 40 mm and 0.6 of it on both sides: 88 mm
        assert axes.get_xlim() == (115.5, 203.5)
        assert axes.get_ylim() == (121.5, 77.5)


def test_the_figure_shows_the_slice_of_the_label_or_else_of_the_prediction():
    empty = np.zeros((5, 4, 4), bool)
    small, large = empty.copy(), empty.copy()
    small[1, 0, 0], large[3] = True, True
    assert select_slice(large, empty, small) == 1  # the label has priority
    assert select_slice(large, small, empty) == 3
    assert select_slice(empty, small, None) == 1
    assert select_slice(empty, empty, None) == 2
