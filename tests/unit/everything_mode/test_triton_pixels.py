"""The Triton kernels against the same arithmetic in PyTorch; interpreted if there is no GPU."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from tiny_sam import random_sam

triton = pytest.importorskip("triton", reason="PyTorch comes without Triton on this system")

from umsam.everything_mode import triton_kernels  # noqa: E402
from umsam.everything_mode.factored_pixels import FactoredPixels  # noqa: E402
from umsam.everything_mode.fast_generator import select_pixels  # noqa: E402
from umsam.everything_mode.point_decoder import PointDecoder  # noqa: E402
from umsam.everything_mode.triton_pixels import TritonPixels, kernels_run  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# A GPU rounds the products; the interpreter computes in float32.
TOLERANCE = {"cuda": 1e-2, "cpu": 1e-5}[DEVICE]


def decode_with_both(sam, points, dtype, selection=None, seed=0):
    """Return predicted IoU and selected masks, from PyTorch and from the kernels."""
    sam = sam.to(DEVICE)
    torch.manual_seed(seed)
    grid, channels = sam.prompt_encoder.image_embedding_size, sam.prompt_encoder.embed_dim
    embedding = torch.randn(channels, *grid).to(DEVICE)
    coordinates = 64 * torch.rand(points, 1, 2, dtype=torch.float64).to(DEVICE)
    labels = torch.ones(points, 1, dtype=torch.int, device=DEVICE)
    results = []
    with torch.no_grad():
        sparse, _ = sam.prompt_encoder((coordinates, labels), None, None)
        for decoder in (PointDecoder(sam), PointDecoder(sam, partial(TritonPixels, dtype))):
            image = decoder.multiply_image(embedding)
            decoded = decoder.decode(image, sparse)
            if selection is None:
                selection = torch.ones_like(decoded.predicted_iou, dtype=torch.bool)
            masks = decoder.compute_mask_logits(image, decoded, selection.to(DEVICE))
            results.append((decoded.predicted_iou, masks))
    return results


def assert_near(results, tolerance):
    for expected, actual in zip(*results, strict=True):
        assert expected.shape == actual.shape
        assert (expected - actual).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize(
    ("grid", "heads", "downsample", "outputs"),
    [
        ((5, 7), 4, 2, 3),  # not a multiple of a block
        ((1, 1), 4, 1, 1),  # a single pixel; five tokens
        ((9, 4), 2, 2, 3),
        ((34, 33), 8, 2, 2),  # more pixels than one program processes
    ],
)
def test_kernels_match_pytorch_for_any_decoder(grid, heads, downsample, outputs):
    sam = random_sam(3, grid, 64, heads, 2, downsample, outputs)
    assert_near(decode_with_both(sam, 3, torch.float32), TOLERANCE)


def test_only_selected_masks_are_computed_in_order():
    sam = random_sam(2, (6, 5), 64, heads=4)
    all_masks = decode_with_both(sam, 4, torch.float32)[1][1].view(4, 3, 24, 20)
    selection = torch.tensor([[0, 1, 0], [0, 0, 0], [1, 0, 1], [1, 1, 1]], dtype=torch.bool)
    selected = decode_with_both(sam, 4, torch.float32, selection)[1][1]
    torch.testing.assert_close(selected, all_masks[selection.to(DEVICE)])


@pytest.mark.parametrize("size", [1e-3, 30.0])
def test_small_and_large_scores_stay_accurate(size):
    """A softmax that does not subtract its maximum would overflow."""
    sam = random_sam(5, (6, 5), 64, heads=4)
    for name, weight in sam.mask_decoder.transformer.named_parameters():
        if "q_proj.weight" in name:
            weight.data *= size
    assert_near(decode_with_both(sam, 3, torch.float32), 10 * TOLERANCE)


def test_float16_rounds_but_stays_near():
    results = decode_with_both(random_sam(1, (8, 9), 64, heads=4), 4, torch.float16)
    assert_near(results, 5e-3)
    assert not torch.equal(results[0][1], results[1][1])


def test_vectors_whose_squares_overflow_float16_are_normalised():
    sam = random_sam(1, (8, 9), 64, heads=4)
    for layer in sam.mask_decoder.transformer.layers:
        for weight in layer.cross_attn_image_to_token.out_proj.parameters():
            weight.data *= 300
    expected, actual = decode_with_both(sam, 4, torch.float16)
    assert expected[1].isfinite().all()
    assert_near((expected, actual), 2e-2)


@pytest.mark.parametrize(
    ("supported", "change"),
    [
        (True, {}),
        (False, {"depth": 1}),
        (False, {"depth": 3}),
        (False, {"channels": 96, "heads": 3}),  # not a power of two
        (False, {"heads": 1}),  # only eight rows
    ],
)
def test_which_decoders_the_kernels_support(supported, change):
    sam = random_sam(0, **{"grid": (3, 3), "channels": 64, "heads": 4, **change}).to(DEVICE)
    assert kernels_run(sam) == supported


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_float32_precisions_do_not_use_the_kernels(precision):
    on_a_gpu = SimpleNamespace(device=torch.device("cuda"))
    assert select_pixels(on_a_gpu, precision) is FactoredPixels


def test_a_machine_that_cannot_build_the_kernels_gets_a_warning(monkeypatch, caplog):
    class Broken:
        def __getitem__(self, grid):
            raise RuntimeError("Failed to find C compiler\nand more")

    monkeypatch.setattr(triton_kernels, "mix", Broken())
    assert not kernels_run(random_sam(0, (3, 3), 64, heads=4).to(DEVICE))
    assert "slower: Failed to find C compiler" in caplog.text
    assert "and more" not in caplog.text
