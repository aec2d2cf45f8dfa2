"""The Dice similarity coefficient of two masks.

In a file of its own: training uses it, and is not to depend on how surfaces are measured.
"""

import numpy as np
from numpy.typing import NDArray


def dice(prediction: NDArray, label: NDArray) -> float:
    """2 |P n L| / (|P| + |L|) of masks of zeros and ones; 1 where both are empty."""
    total = np.count_nonzero(prediction) + np.count_nonzero(label)
    return 2 * np.count_nonzero(prediction & label) / total if total else 1.0
