"""Packing masks into bits."""

import numpy as np
import pytest
import torch

from umsam.everything_mode.mask_candidates import (
    MaskCandidates,
    _pack_bits_with_torch,
    bounding_boxes,
    pack_bits,
)


@pytest.mark.parametrize("pixels", [1, 8, 77])
def test_packed_bits_equal_those_of_numpy(pixels):
    masks = torch.rand(5, pixels) < 0.4
    expected = np.packbits(masks.numpy(), axis=1)
    assert np.array_equal(_pack_bits_with_torch(masks).numpy(), expected)


def test_unpacked_masks_equal_the_packed_ones():
    masks = torch.rand(4, 5, 7) < 0.4
    zeros = torch.zeros(4)
    candidates = MaskCandidates(pack_bits(masks), zeros, zeros, zeros, zeros)
    assert np.array_equal(candidates.unpack(5, 7), masks.numpy())


def test_boxes_enclose_the_pixels_above_the_threshold():
    logits = torch.randn(30, 6, 9) - 1.5
    logits[0] = -1.0
    for mask, box in zip(logits > 0.5, bounding_boxes(logits, 0.5), strict=True):
        y, x = mask.nonzero(as_tuple=True)
        expected = [x.min(), y.min(), x.max(), y.max()] if len(x) else [0] * 4
        assert box.tolist() == expected
