"""What is left of a mask in several pieces."""

import numpy as np

from umsam.components import largest_component


def test_largest_component():
    mask = np.zeros((4, 10, 10), np.uint8)
    mask[0:2, 0:3, 0:3] = 1  # 18 voxels
    mask[2:4, 5:9, 5:9] = 1  # 32 voxels
    mask[1, 3, 3] = 1  # touches the first by a corner only
    kept = largest_component(mask)
    assert kept.sum() == 32 and kept[2:4, 5:9, 5:9].all()
    assert not largest_component(np.zeros_like(mask)).any()
    assert np.array_equal(largest_component(kept), kept)
