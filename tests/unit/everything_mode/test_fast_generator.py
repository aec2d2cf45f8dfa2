"""The fast generator against Meta's: the same masks in the same order."""

import sys
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.utils.amg import build_point_grid
from tiny_sam import SETTINGS, best_ious, tiny_sam

from umsam.data.intensity import normalise, to_rgb_uint8
from umsam.data.phantoms import generate_case
from umsam.errors import InputError
from umsam.everything_mode import factored_pixels
from umsam.everything_mode.fast_generator import FastGenerator
from umsam.everything_mode.reference_generator import ReferenceGenerator
from umsam.models.matmul_precision import onednn_is_exact
from umsam.models.sam import load_sam
from umsam.planning.sam_variants import resolve_thresholds

COMPACT = Path(__file__).parents[3] / "resources/compact_sam.pt"


def make_noise(height, width, seed=1):
    """Return a dark box on noise, uint8 [H, W, 3]."""
    grey = np.random.default_rng(seed).uniform(0, 255, (height, width))
    grey[height // 4 : height // 2, width // 4 :] /= 4
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def predict_ious(sam, rgb, points_per_side):
    """Return the predicted IoU of every mask of every point, [P, M]."""
    predictor = SamPredictor(sam)
    predictor.set_image(rgb)
    height, width = rgb.shape[:2]
    points = build_point_grid(points_per_side) * [[width, height]]
    points = predictor.transform.apply_coords(points, (height, width))
    points = torch.as_tensor(points)[:, None]
    labels = torch.ones(len(points), 1, dtype=torch.int)
    return predictor.predict_torch(points, labels, return_logits=True)[1]


def raise_ious(sam):
    """Raise the predicted IoUs: random weights predict about zero, where no threshold applies."""
    sam.mask_decoder.iou_prediction_head.layers[-1].bias.data += 1
    return sam


def find_threshold(values, share):
    """Return a threshold that `share` of the values pass, halfway between two of them."""
    ordered = values.flatten().sort(descending=True).values
    count = round(share * len(ordered))
    return float(ordered[count - 1 : count + 1].mean()) if count < len(ordered) else -1.0


def assert_same_masks(sam, rgb, settings, at_least=1):
    """Compare both generators on one slice."""
    fast, embedding = FastGenerator(sam, settings)(rgb)
    reference, expected_embedding = ReferenceGenerator(sam, settings)(rgb)
    assert len(fast) == len(reference) >= at_least
    assert np.array_equal(fast.point, reference.point)
    np.testing.assert_allclose(fast.predicted_iou, reference.predicted_iou, atol=1e-4)
    for name in ("masks", "box", "stability_score"):
        assert getattr(fast, name).shape == getattr(reference, name).shape
    np.testing.assert_allclose(embedding, expected_embedding, atol=1e-4, rtol=1e-4)
    for i in range(len(fast)):
        a, b = fast.masks[i], reference.masks[i]
        union = (a | b).sum()
        # A pixel whose logit is zero up to rounding may fall on either side of the threshold.
        assert (a ^ b).sum() <= max(1, 1e-3 * union)
        tolerance = max(1e-3, 2 / max(1, union))
        x, y = fast.stability_score[i], reference.stability_score[i]
        assert abs(x - y) <= tolerance or (np.isnan(x) and np.isnan(y))
        assert np.abs(fast.box[i] - reference.box[i]).max() <= (0 if np.array_equal(a, b) else 2)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(2, 90), st.integers(2, 90)),
    points=st.integers(1, 4),
    batch=st.integers(1, 7),
    layers=st.sampled_from([0, 0, 0, 1]),
    stability=st.sampled_from([0.0, 0.3]),
    share=st.sampled_from([0.05, 0.3, 1.0]),
)
def test_masks_equal_those_of_meta_for_any_slice_and_grid(
    seed, size, points, batch, layers, stability, share
):
    torch.manual_seed(seed)
    sam, rgb = raise_ious(tiny_sam()), make_noise(*size, seed)
    chosen = {
        **SETTINGS,
        "points_per_side": points,
        "points_per_batch": batch,
        "crop_n_layers": layers if min(size) > 8 else 0,
        "stability_score_thresh": stability,
        "pred_iou_thresh": find_threshold(predict_ious(sam, rgb, points), share),
    }
    assert_same_masks(sam, rgb, chosen, at_least=0)


@pytest.mark.parametrize("size", [(1, 50), (50, 1), (1100, 300), (257, 1031)])
def test_masks_equal_those_of_meta_for_slices_of_unusual_size(sam, size):
    assert_same_masks(sam, make_noise(*size), SETTINGS)


def load_compact_and_phantom(kind, case="site2-01"):
    """Return the compact model, the middle slice of a phantom and the model's settings."""
    sam = load_sam("compact", COMPACT, "cpu")
    volume = normalise(generate_case(kind, case)[0], 1, 99)
    own = resolve_thresholds(
        {
            **SETTINGS,
            "model": "compact",
            "points_per_side": 16,
            "points_per_batch": 64,
            "pred_iou_thresh": None,
            "stability_score_thresh": None,
            "stability_score_offset": None,
        }
    )
    return sam, to_rgb_uint8(volume[len(volume) // 2]), own


@pytest.mark.parametrize("kind", ["brain", "prostate"])
def test_the_compact_model_finds_the_masks_of_meta_on_phantoms(kind):
    assert_same_masks(*load_compact_and_phantom(kind), at_least=10)


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_the_official_decoder_finds_the_masks_of_meta(share, monkeypatch):
    """ViT-B's decoder and sizes, with a small encoder instead of the transformer."""
    builders = sys.modules["segment_anything.build_sam"]
    monkeypatch.setattr(builders, "ImageEncoderViT", lambda **arguments: PatchEncoder())
    torch.manual_seed(4)
    sam = raise_ious(sam_model_registry["vit_b"](checkpoint=None).eval())
    rgb = make_noise(77, 120)
    iou = predict_ious(sam, rgb, 4)
    chosen = {**SETTINGS, "points_per_side": 4, "pred_iou_thresh": find_threshold(iou, share)}
    assert_same_masks(sam, rgb, chosen)


class PatchEncoder(torch.nn.Conv2d):
    """One 16 x 16 convolution to 256 channels."""

    img_size = 1024

    def __init__(self):
        super().__init__(3, 256, kernel_size=16, stride=16)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vit_b", "vit_l", "vit_h"])
def test_official_models_with_random_weights_find_the_masks_of_meta(model):
    torch.manual_seed(0)
    sam = raise_ious(sam_model_registry[model](checkpoint=None).eval())
    encode = (
        sam.image_encoder.forward
    )  # takes half a minute for ViT-H, so each image is encoded once
    cache = {}
    sam.image_encoder.forward = partial(_encode_once, cache, encode)
    rgb = make_noise(320, 250)
    iou = predict_ious(sam, rgb, 8)
    for share in (0.05, 0.3):
        chosen = {**SETTINGS, "points_per_side": 8, "points_per_batch": 64}
        assert_same_masks(sam, rgb, {**chosen, "pred_iou_thresh": find_threshold(iou, share)})
    assert len(cache) == 1


def _encode_once(cache, encode, image):
    key = image.sum().item()
    if key not in cache:
        cache[key] = encode(image)
    return cache[key]


@pytest.mark.parametrize("part", ["image_encoder", "mask_decoder"])
def test_numbers_that_overflow_raise_an_error(sam, part):
    next(getattr(sam, part).parameters()).data.fill_(torch.inf)
    with pytest.raises(InputError, match=r"sam\.precision fp32.*not finite"):
        FastGenerator(sam, {**SETTINGS, "pred_iou_thresh": 0.5})(make_noise(40, 56))


def test_a_slice_without_masks_is_no_error(sam):
    for threshold in ("pred_iou_thresh", "stability_score_thresh"):
        for layers in (0, 1):
            chosen = {**SETTINGS, threshold: 1e6, "crop_n_layers": layers}
            masks, embedding = FastGenerator(sam, chosen)(make_noise(40, 56))
            assert masks.masks.shape == (0, 40, 56)
            assert np.isfinite(embedding).all()


def test_each_crop_takes_one_encoder_pass(sam):
    passes = []
    sam.image_encoder.neck.register_forward_hook(lambda *a: passes.append(1))
    FastGenerator(sam, SETTINGS)(make_noise(40, 56))
    assert len(passes) == 1
    FastGenerator(sam, {**SETTINGS, "crop_n_layers": 1})(make_noise(40, 56))
    assert len(passes) == 6


def test_only_points_that_pass_the_iou_threshold_are_upscaled(sam, monkeypatch):
    upscaled = []
    upscale = factored_pixels._upscale

    def count_points(*arguments):
        upscaled.append(len(arguments[-1]))
        return upscale(*arguments)

    monkeypatch.setattr(factored_pixels, "_upscale", count_points)
    rgb = make_noise(40, 56)
    iou = predict_ious(raise_ious(sam), rgb, 3)
    threshold = find_threshold(iou, 0.2)
    FastGenerator(sam, {**SETTINGS, "pred_iou_thresh": threshold})(rgb)
    assert sum(upscaled) == int((iou > threshold).any(dim=1).sum())


def test_small_regions_are_removed_as_meta_removes_them(sam):
    pytest.importorskip("cv2")
    assert_same_masks(sam, make_noise(40, 56), {**SETTINGS, "min_mask_region_area": 12})


@pytest.mark.parametrize("kind", ["brain", "prostate"])
def test_bf16_finds_nearly_the_same_masks(kind):
    """Where the processor rounds, scores near a threshold and duplicates may change."""
    shares, masks = [], []
    for case in ("site1-01", "site2-01", "site2-02", "site3-02"):
        sam, rgb, chosen = load_compact_and_phantom(kind, case)
        expected, embedding = FastGenerator(sam, chosen)(rgb)
        before = torch.get_float32_matmul_precision()
        rounded, near = FastGenerator(sam, {**chosen, "precision": "bf16"})(rgb)
        assert torch.get_float32_matmul_precision() == before
        assert near.dtype == np.float32
        np.testing.assert_allclose(near, embedding, atol=0.05 * np.abs(embedding).max())
        shares.append(matched_share(rounded, expected))
        masks.append(len(expected))
    assert np.average(shares, weights=masks) >= (1 if onednn_is_exact() else 0.9)


def test_rounding_to_tf32_changes_at_most_one_mask_in_a_hundred():
    """Simulated by rounding the inputs and weights of the encoder's convolutions to ten bits."""

    def round_to_tf32(x):
        bits = x.contiguous().view(torch.int32) + 0x1000
        return (bits & ~0x1FFF).view(torch.float32)

    shares, masks = [], []
    for kind, case in product(("brain", "prostate"), ("site1-01", "site2-01", "site3-02")):
        sam, rgb, chosen = load_compact_and_phantom(kind, case)
        expected, _ = FastGenerator(sam, chosen)(rgb)
        for layer in sam.image_encoder.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.data = round_to_tf32(layer.weight.data)
                layer.register_forward_pre_hook(lambda _, inputs: (round_to_tf32(inputs[0]),))
        rounded, _ = FastGenerator(sam, {**chosen, "precision": "tf32"})(rgb)
        shares.append(matched_share(rounded, expected))
        masks.append(len(expected))
    assert np.average(shares, weights=masks) >= 0.99


def matched_share(masks, expected):
    """Return the share of expected masks that one of `masks` matches at an IoU of 0.95."""
    return np.mean(np.array(best_ious(masks, expected)) >= 0.95)


def test_grey_and_colour_slices_are_prepared_as_meta_prepares_them(sam):
    colour = np.random.default_rng(2).integers(0, 255, (40, 56, 3), np.uint8)
    for rgb in (make_noise(40, 56), colour):
        (crop,) = FastGenerator(sam, SETTINGS).prepare(rgb)
        expected = SamPredictor(sam).transform.apply_image(rgb)
        assert np.array_equal(crop.image.expand(3, -1, -1).permute(1, 2, 0), expected)
    assert len(crop.image) == 3
