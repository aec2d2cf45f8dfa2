"""The central square of a slice that SAM sees."""

import pytest

from umsam.data.field_of_view import View, central_view


@pytest.mark.parametrize(
    ("shape", "spacing", "side", "expected"),
    [
        ((160, 160), (1.25, 1.25), None, View(0, 0, 160, 160)),
        ((160, 160), (1.25, 1.25), 150, View(20, 20, 120, 120)),
        ((256, 320), (0.5, 1.0), 100, View(28, 110, 200, 100)),  # 100 mm along both
        ((64, 320), (1.0, 1.0), 100, View(0, 110, 64, 100)),  # shorter than 100 mm along y
        ((41, 40), (1.0, 1.0), 20.4, View(10, 10, 20, 20)),
        ((8, 8), (1.0, 1.0), 0.1, View(3, 3, 1, 1)),
    ],
)
def test_the_view_is_a_central_square_in_mm(shape, spacing, side, expected):
    assert central_view(shape, spacing, side) == expected
