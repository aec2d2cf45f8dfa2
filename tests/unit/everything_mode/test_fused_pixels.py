"""The GPU's kernels against the same arithmetic in PyTorch; without a GPU they are interpreted."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from tiny_sam import random_sam

triton = pytest.importorskip("triton", reason="PyTorch comes without Triton on this system")

from umsam.everything_mode import fused_pixels  # noqa: E402
from umsam.everything_mode.fast_generator import pixels_for  # noqa: E402
from umsam.everything_mode.fused_pixels import FusedPixels, runs  # noqa: E402
from umsam.everything_mode.pixels import Pixels  # noqa: E402
from umsam.everything_mode.point_decoder import PointDecoder  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Rounded products on a GPU; the interpreter computes in float32.
TOLERANCE = {"cuda": 1e-2, "cpu": 1e-5}[DEVICE]


def answers(sam, points, kept, wanted=None, seed=0):
    """Plain and fused: predicted IoU and the wanted masks."""
    sam = sam.to(DEVICE)
    torch.manual_seed(seed)
    grid, channels = sam.prompt_encoder.image_embedding_size, sam.prompt_encoder.embed_dim
    embedding = torch.randn(channels, *grid).to(DEVICE)
    coordinates = 64 * torch.rand(points, 1, 2, dtype=torch.float64).to(DEVICE)
    labels = torch.ones(points, 1, dtype=torch.int, device=DEVICE)
    found = []
    with torch.no_grad():
        sparse, _ = sam.prompt_encoder((coordinates, labels), None, None)
        for decoder in (PointDecoder(sam), PointDecoder(sam, partial(FusedPixels, kept))):
            image = decoder.image_terms(embedding)
            decoded = decoder.decode(image, sparse)
            if wanted is None:
                wanted = torch.ones_like(decoded.predicted_iou, dtype=torch.bool)
            masks = decoder.mask_logits(image, decoded, wanted.to(DEVICE))
            found.append((decoded.predicted_iou, masks))
    return found


def assert_near(found, tolerance):
    for plain, fused in zip(*found, strict=True):
        assert plain.shape == fused.shape
        assert (plain - fused).norm() <= tolerance * plain.norm()


@pytest.mark.parametrize(
    ("grid", "heads", "downsample", "outputs"),
    [
        ((5, 7), 4, 2, 3),  # not a multiple of a block
        ((1, 1), 4, 1, 1),  # a single pixel; five tokens
        ((9, 4), 2, 2, 3),
        ((34, 33), 8, 2, 2),  # more pixels than a program takes
    ],
)
def test_any_decoder(grid, heads, downsample, outputs):
    sam = random_sam(3, grid, 64, heads, 2, downsample, outputs)
    assert_near(answers(sam, 3, torch.float32), TOLERANCE)


def test_only_wanted_masks_in_order():
    sam = random_sam(2, (6, 5), 64, heads=4)
    every = answers(sam, 4, torch.float32)[1][1].view(4, 3, 24, 20)
    wanted = torch.tensor([[0, 1, 0], [0, 0, 0], [1, 0, 1], [1, 1, 1]], dtype=torch.bool)
    found = answers(sam, 4, torch.float32, wanted)[1][1]
    torch.testing.assert_close(found, every[wanted.to(DEVICE)])


@pytest.mark.parametrize("size", [1e-3, 30.0])
def test_small_and_large_scores(size):
    """A softmax without its maximum would overflow."""
    sam = random_sam(5, (6, 5), 64, heads=4)
    for name, weight in sam.mask_decoder.transformer.named_parameters():
        if "q_proj.weight" in name:
            weight.data *= size
    assert_near(answers(sam, 3, torch.float32), 10 * TOLERANCE)


def test_half_of_the_bytes():
    found = answers(random_sam(1, (8, 9), 64, heads=4), 4, torch.float16)
    assert_near(found, 5e-3)
    assert not torch.equal(found[0][1], found[1][1])


def test_numbers_near_the_largest_half():
    """The squares of vectors, of which the norm takes the mean, are beyond what a half holds."""
    sam = random_sam(1, (8, 9), 64, heads=4)
    for layer in sam.mask_decoder.transformer.layers:
        for weight in layer.cross_attn_image_to_token.out_proj.parameters():
            weight.data *= 300
    plain, fused = answers(sam, 4, torch.float16)
    assert plain[1].isfinite().all()
    assert_near((plain, fused), 2e-2)


@pytest.mark.parametrize(
    ("known", "change"),
    [
        (True, {}),
        (False, {"depth": 1}),
        (False, {"depth": 3}),
        (False, {"channels": 96, "heads": 3}),  # not a power of two
        (False, {"heads": 1}),  # eight rows
    ],
)
def test_which_decoders_are_known(known, change):
    sam = random_sam(0, **{"grid": (3, 3), "channels": 64, "heads": 4, **change}).to(DEVICE)
    assert runs(sam) == known


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_a_decoder_in_float32_does_without_the_kernels(precision):
    on_a_gpu = SimpleNamespace(device=torch.device("cuda"))
    assert pixels_for(on_a_gpu, precision) is Pixels


def test_a_machine_that_cannot_build_kernels_is_told_so(monkeypatch, caplog):
    class Broken:
        def __getitem__(self, grid):
            raise RuntimeError("Failed to find C compiler\nand more")

    monkeypatch.setattr(fused_pixels.kernels, "mix", Broken())
    assert not runs(random_sam(0, (3, 3), 64, heads=4).to(DEVICE))
    assert "slower: Failed to find C compiler" in caplog.text
    assert "and more" not in caplog.text
