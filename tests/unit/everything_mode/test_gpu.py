"""The fast generator on a GPU against the CPU, and against Meta's generator on the same GPU."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_sam import SETTINGS, best_ious

from umsam.data.intensity import normalise, to_rgb_uint8
from umsam.data.phantoms import generate_case
from umsam.everything_mode.fast_generator import FastGenerator
from umsam.everything_mode.reference_generator import ReferenceGenerator
from umsam.models.matmul_precision import matmul_precision
from umsam.models.sam import load_sam
from umsam.planning.sam_variants import resolve_thresholds

COMPACT = Path(__file__).parents[3] / "resources/compact_sam.pt"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")


@pytest.fixture(scope="module")
def slices():
    images = []
    for kind in ("brain", "prostate"):
        for case in ("site1-01", "site2-01"):
            volume = normalise(generate_case(kind, case)[0], 1, 99)
            images.append(to_rgb_uint8(volume[len(volume) // 2]))
    images[1] = np.ascontiguousarray(images[1][:-13])  # slices of different sizes
    return images


THRESHOLDS = ("pred_iou_thresh", "stability_score_thresh", "stability_score_offset")


def segment(make_generator, device, precision, slices, batch=None):
    """Return the masks of each slice from the compact model."""
    settings = resolve_thresholds({**SETTINGS, "model": "compact", **dict.fromkeys(THRESHOLDS)})
    settings |= {"points_per_side": 16, "precision": precision, "points_per_batch": batch}
    generator = make_generator(load_sam("compact", COMPACT, device), settings)
    with matmul_precision("fp32", device):  # PyTorch rounds the reference's convolutions by default
        return [generator(rgb)[0] for rgb in slices]


def matched_share(masks, expected, at):
    """Return the share of expected masks of all slices that one of `masks` matches."""
    best = [iou for pair in zip(masks, expected, strict=True) for iou in best_ious(*pair)]
    return np.mean(np.array(best) >= at)


def test_float32_masks_equal_those_of_the_cpu_and_of_meta(slices):
    actual = segment(FastGenerator, "cuda", "fp32", slices)
    for expected in (
        segment(FastGenerator, "cpu", "fp32", slices),
        segment(ReferenceGenerator, "cuda", "fp32", slices),
    ):
        assert sum(map(len, expected)) > 60
        assert [len(masks) for masks in actual] == [len(masks) for masks in expected]
        assert matched_share(actual, expected, 0.999) >= 0.99  # small masks may differ by a pixel


def test_the_batch_size_does_not_change_the_masks(slices):
    one_batch = segment(FastGenerator, "cuda", "fp32", slices[:1])
    batches = segment(FastGenerator, "cuda", "fp32", slices[:1], batch=37)  # 256 = 6 x 37 + 34
    assert np.array_equal(one_batch[0].point, batches[0].point)
    assert matched_share(batches, one_batch, 0.999) == 1


@pytest.mark.parametrize(("precision", "share"), [("tf32", 0.98), ("fp16", 0.95), ("bf16", 0.9)])
def test_rounded_products_find_most_of_the_masks(slices, precision, share):
    expected = segment(FastGenerator, "cpu", "fp32", slices)
    actual = segment(FastGenerator, "cuda", precision, slices)
    assert matched_share(actual, expected, 0.95) >= share


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_uses_the_kernels(precision):
    from umsam.everything_mode.triton_pixels import TritonPixels

    chosen = {**SETTINGS, "precision": precision}
    generator = FastGenerator(load_sam("compact", COMPACT, "cuda"), chosen)
    assert isinstance(generator.decoder.new_pixels(), TritonPixels)
