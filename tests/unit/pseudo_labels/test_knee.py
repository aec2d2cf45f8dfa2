"""The knee of an SSE curve."""

import numpy as np
import pandas as pd
import pytest

from umsam.pseudo_labels.knee import knee


@pytest.mark.parametrize(
    ("sse", "expected"),
    [
        ([100, 60, 10, 8, 6], 4),
        ([100, 20, 15, 10, 5], 3),
        ([100, 75, 50, 25, 0], 2),  # a straight line has no knee: the first K
        ([5, 5, 5, 5, 5], 2),
        ([1e9, 6e8, 1e8, 8e7, 6e7], 4),  # whatever the unit
    ],
)
def test_the_knee(sse, expected):
    assert knee(pd.DataFrame({"k": [2, 3, 4, 5, 6], "sse": sse})) == expected


def test_the_knee_is_furthest_from_the_chord():
    k = np.arange(2, 21)
    sse = 1 / k
    x, y = (k - 2) / 18, (sse - sse[-1]) / (sse[0] - sse[-1])
    distance = np.abs(np.cross([1, -1], np.stack([x, y - 1], axis=1))) / np.sqrt(2)
    assert knee(pd.DataFrame({"k": k, "sse": sse})) == k[distance.argmax()]
