"""On a GPU: the masks of the CPU in float32, and of Meta's generator on the same GPU."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_sam import SETTINGS, best_ious

from umsam.data.intensity import normalise, to_rgb_uint8
from umsam.data.phantoms import phantom_case
from umsam.everything_mode.fast_generator import FastGenerator
from umsam.models.matmul_precision import matmul_precision
from umsam.everything_mode.reference_generator import ReferenceGenerator
from umsam.models.sam import GENERATOR_DEFAULTS, load_sam

COMPACT = Path(__file__).parents[3] / "resources/compact_sam.pt"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")


@pytest.fixture(scope="module")
def slices():
    found = []
    for kind in ("brain", "prostate"):
        for case in ("site1-01", "site2-01"):
            volume = normalise(phantom_case(kind, case)[0], 1, 99)
            found.append(to_rgb_uint8(volume[len(volume) // 2]))
    found[1] = np.ascontiguousarray(found[1][:-13])  # not all of one size
    return found


def masks(generator, device, precision, slices, batch=None):
    chosen = {**SETTINGS, **GENERATOR_DEFAULTS["compact"], "points_per_side": 16}
    chosen |= {"precision": precision, "points_per_batch": batch}
    sam = load_sam("compact", COMPACT, device)
    find = generator(sam, chosen)
    with matmul_precision("fp32", device):  # Meta's convolutions round too, if they are let
        return [find(rgb)[0] for rgb in slices]


def matched(found, expected, at):
    """Share of the expected masks of all slices that a found one covers."""
    best = [iou for pair in zip(found, expected, strict=True) for iou in best_ious(*pair)]
    return np.mean(np.array(best) >= at)


def test_float32_is_the_cpus_and_metas(slices):
    found = masks(FastGenerator, "cuda", "fp32", slices)
    for expected in (
        masks(FastGenerator, "cpu", "fp32", slices),
        masks(ReferenceGenerator, "cuda", "fp32", slices),
    ):
        assert sum(map(len, expected)) > 60
        assert [len(each) for each in found] == [len(each) for each in expected]
        assert matched(found, expected, 0.999) >= 0.99  # a pixel of a small mask may differ


def test_batches_do_not_matter(slices):
    whole = masks(FastGenerator, "cuda", "fp32", slices[:1])
    parts = masks(FastGenerator, "cuda", "fp32", slices[:1], batch=37)  # 256 = 6 x 37 + 34
    assert np.array_equal(whole[0].point, parts[0].point)
    assert matched(parts, whole, 0.999) == 1


@pytest.mark.parametrize(("precision", "share"), [("tf32", 0.98), ("fp16", 0.95), ("bf16", 0.9)])
def test_rounded_products(slices, precision, share):
    expected = masks(FastGenerator, "cpu", "fp32", slices)
    assert matched(masks(FastGenerator, "cuda", precision, slices), expected, 0.95) >= share


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_kernels_are_used(precision):
    from umsam.everything_mode.fused_pixels import FusedPixels

    chosen = {**SETTINGS, "precision": precision}
    generator = FastGenerator(load_sam("compact", COMPACT, "cuda"), chosen)
    assert isinstance(generator.decoder.new_pixels(), FusedPixels)
