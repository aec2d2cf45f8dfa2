"""The decoder of many points against segment_anything's own."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sam import random_sam

from umsam.everything_mode import factored_pixels
from umsam.everything_mode.factored_pixels import _multiply_per_head
from umsam.everything_mode.point_decoder import PointDecoder


def decode_with_both(sam, points, seed=0, size=1.0):
    """Return predicted IoU [P, M] and logits [P, M, h, w] of the reference and of ours."""
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
        image = decoder.multiply_image(embedding[0])
        decoded = decoder.decode(image, sparse)
        selection = torch.ones_like(decoded.predicted_iou, dtype=torch.bool)
        masks = decoder.compute_mask_logits(image, decoded, selection).view(expected.shape)
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
    part=st.sampled_from([1, 5, 1024]),
)
def test_any_decoder_returns_the_numbers_of_meta(
    seed, grid, heads, depth, downsample, outputs, points, part
):
    sam = random_sam(seed, grid, 32, heads, depth, downsample, outputs)
    with mock.patch.object(factored_pixels, "PIXELS_PER_PART", part):
        (expected_iou, expected), (iou, masks), _ = decode_with_both(sam, points, seed)
    torch.testing.assert_close(iou, expected_iou, atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(masks, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("part", [4, 1024])
@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0])
def test_small_and_large_embeddings_stay_accurate(size, part, monkeypatch):
    """Large scores require the maximum in the softmax; small ones must keep the variance."""
    monkeypatch.setattr(factored_pixels, "PIXELS_PER_PART", part)
    (expected_iou, expected), (iou, masks), _ = decode_with_both(random_sam(5), 4, size=size)
    torch.testing.assert_close(iou, expected_iou, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(masks, expected, atol=2e-4, rtol=1e-3)


def test_the_official_size_returns_the_numbers_of_meta():
    sam = random_sam(1, (64, 64), 256, heads=8)
    (expected_iou, expected), (iou, masks), _ = decode_with_both(sam, 3)
    torch.testing.assert_close(iou, expected_iou, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(masks, expected, atol=1e-4, rtol=1e-4)


def test_selected_masks_are_returned_in_order():
    _, (_, masks), (decoder, image, decoded) = decode_with_both(random_sam(2), 5)
    selection = torch.tensor(
        [[0, 1, 0], [0, 0, 0], [1, 0, 1], [1, 1, 1], [0, 0, 1]], dtype=torch.bool
    )
    with torch.no_grad():
        selected = decoder.compute_mask_logits(image, decoded, selection)
    torch.testing.assert_close(selected, masks[selection], atol=1e-5, rtol=1e-5)


def test_the_product_per_head_equals_a_batched_product():
    torch.manual_seed(0)
    x, y = torch.randn(3, 2, 7, 4), torch.randn(2, 4, 50)
    torch.testing.assert_close(_multiply_per_head(x, y), x @ y, atol=1e-5, rtol=1e-5)
