"""The resize of masks in one step against segment_anything's two steps."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sam import random_sam

from umsam.everything_mode.mask_resize import MaskResize, resize_matrix


@settings(max_examples=60, deadline=None)
@given(
    low=st.integers(4, 24),
    factor=st.sampled_from([2, 4]),
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    seed=st.integers(0, 10**6),
)
def test_the_resize_equals_the_two_steps_of_sam(low, factor, height, width, seed):
    square = low * factor
    sam = random_sam(0, (low // 4, low // 4))
    sam.image_encoder.img_size = square
    scale = square / max(height, width)
    used = (max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)))
    torch.manual_seed(seed)
    logits = torch.randn(2, low, low)
    expected = sam.postprocess_masks(logits[None], used, (height, width))[0]
    resize = MaskResize((low, low), square, used, (height, width), torch.device("cpu"))
    torch.testing.assert_close(resize(logits), expected, atol=1e-5, rtol=1e-5)


def test_each_row_averages_at_most_three_neighbours():
    matrix = resize_matrix(256, 1024, 700, 333)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(333), atol=1e-6, rtol=0)
    indices = [row.nonzero()[:, 0] for row in matrix]
    assert max(int(c[-1] - c[0]) for c in indices) <= 2
    assert (matrix >= 0).all()
