"""The number of clusters that the SSE curve suggests (section 2.1)."""

import numpy as np
import pandas as pd


def knee(curve: pd.DataFrame) -> int:
    """The K of the point furthest below the chord from the first to the last point of the curve.

    Both axes are first scaled to [0, 1]. If the curve never lies below its chord, the knee is at
    the first K.

    Parameters
    ----------
    curve
        Columns k, sse.
    """
    k, sse = curve["k"].to_numpy(float), curve["sse"].to_numpy(float)
    if len(k) < 3 or sse[0] <= sse[-1]:
        return int(k[0])
    across = (k - k[0]) / (k[-1] - k[0])
    down = (sse - sse[-1]) / (sse[0] - sse[-1])
    return int(k[np.argmax(1 - across - down)])
