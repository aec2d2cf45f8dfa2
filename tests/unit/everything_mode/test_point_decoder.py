"""The decoder of many points against segment_anything's, and the resize against its two steps."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sam import random_sam

from umsam.everything_mode import pixels
from umsam.everything_mode.mask_resize import MaskResize, resize_matrix
from umsam.everything_mode.pixels import _per_head
from umsam.everything_mode.point_decoder import PointDecoder


def both(sam, points, seed=0, size=1.0):
    """Reference's and ours: predicted IoU [P, M] and logits [P, M, h, w]."""
    torch.manual_seed(seed)
    grid = sam.prompt_encoder.image_embedding_size
    channels = sam.prompt_encoder.embed_dim
    embedding = size * torch.randn(1, channels, *grid)
    coordinates = 64 * torch.rand(points, 1, 2, dtype=torch.float64)
    labels = torch.ones(points, 1, dtype=torch.int)
    with torch.no_grad():
        sparse, dense = sam.prompt_encoder((coordinates, labels), None, None)
        expected, expected_iou = sam.mask_decoder(
            image_embeddings=embedding,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        decoder = PointDecoder(sam)
        image = decoder.image_terms(embedding[0])
        decoded = decoder.decode(image, sparse)
        every = torch.ones_like(decoded.predicted_iou, dtype=torch.bool)
        masks = decoder.mask_logits(image, decoded, every).view(expected.shape)
    return (expected_iou, expected), (decoded.predicted_iou, masks), (decoder, image, decoded)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    grid=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    heads=st.sampled_from([1, 2, 4]),
    depth=st.integers(1, 3),
    downsample=st.sampled_from([1, 2]),
    outputs=st.integers(1, 3),
    points=st.integers(1, 5),
    at_once=st.sampled_from([1, 5, 1024]),
)
def test_any_decoder_gives_metas_numbers(
    seed, grid, heads, depth, downsample, outputs, points, at_once
):
    sam = random_sam(seed, grid, 32, heads, depth, downsample, outputs)
    with mock.patch.object(pixels, "AT_ONCE", at_once):
        (expected_iou, expected), (iou, masks), _ = both(sam, points, seed)
    torch.testing.assert_close(iou, expected_iou, atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(masks, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("at_once", [4, 1024])
@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0])
def test_small_and_large_embeddings(size, at_once, monkeypatch):
    """Large scores need the softmax's maximum; small ones must not lose the variance."""
    monkeypatch.setattr(pixels, "AT_ONCE", at_once)
    (expected_iou, expected), (iou, masks), _ = both(random_sam(5), 4, size=size)
    torch.testing.assert_close(iou, expected_iou, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(masks, expected, atol=2e-4, rtol=1e-3)


def test_the_official_size():
    sam = random_sam(1, (64, 64), 256, heads=8)
    (expected_iou, expected), (iou, masks), _ = both(sam, 3)
    torch.testing.assert_close(iou, expected_iou, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(masks, expected, atol=1e-4, rtol=1e-4)


def test_wanted_masks_come_in_order():
    _, (_, masks), (decoder, image, decoded) = both(random_sam(2), 5)
    wanted = torch.tensor([[0, 1, 0], [0, 0, 0], [1, 0, 1], [1, 1, 1], [0, 0, 1]], dtype=torch.bool)
    with torch.no_grad():
        found = decoder.mask_logits(image, decoded, wanted)
    torch.testing.assert_close(found, masks[wanted], atol=1e-5, rtol=1e-5)


def test_products_a_head():
    torch.manual_seed(0)
    x, y = torch.randn(3, 2, 7, 4), torch.randn(2, 4, 50)
    torch.testing.assert_close(_per_head(x, y), x @ y, atol=1e-5, rtol=1e-5)


# ---- the resize


@settings(max_examples=60, deadline=None)
@given(
    low=st.integers(4, 24),
    factor=st.sampled_from([2, 4]),
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    seed=st.integers(0, 10**6),
)
def test_the_resize_is_sams(low, factor, height, width, seed):
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


def test_rows_of_the_matrix_are_means_of_three_neighbours():
    matrix = resize_matrix(256, 1024, 700, 333)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(333), atol=1e-6, rtol=0)
    columns = [row.nonzero()[:, 0] for row in matrix]
    assert max(int(c[-1] - c[0]) for c in columns) <= 2
    assert (matrix >= 0).all()
