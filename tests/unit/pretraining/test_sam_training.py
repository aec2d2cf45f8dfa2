"""Training of the compact SAM: decoder, losses in closed form, calibration, resuming."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from umsam.errors import InputError
from umsam.models.compact_sam import build_compact_sam, save_compact_sam
from umsam.pretraining.sam_calibration import (
    GOOD_STABILITY,
    OFFSETS,
    GridOutputs,
    calibrate,
    fit_scores,
    fit_temperature,
    grid_outputs,
)
from umsam.pretraining.sam_decoding import (
    AnchorMasks,
    decode,
    encode_positions,
    upscale_embedding,
)
from umsam.pretraining.sam_losses import mask_loss, match_outputs, nested_loss, true_iou
from umsam.pretraining.sam_objective import losses
from umsam.pretraining.sam_samples import CHAIN, collate, make_sample
from umsam.pretraining.sam_training import (
    SamSettings,
    learning_rate,
    pretrain,
    train_compact_sam,
)


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    model = build_compact_sam()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return model


def sample(number: int, size: int = 64) -> dict[str, torch.Tensor]:
    return make_sample((0, number), size, points=3, boxes=1, background_points=1, anchors=4)


def square(size: int = 16, side: int = 8) -> torch.Tensor:
    mask = torch.zeros(size, size)
    mask[2 : 2 + side, 3 : 3 + side] = 1
    return mask.flatten()


# ---- samples


def test_prompts_lie_in_the_objects_of_their_chain():
    for number in range(6):
        s = sample(number)
        assert s["coords"].shape == (5, 2, 2)
        assert s["chain"].shape == (5, CHAIN)
        for point, label, chain, index in zip(
            s["coords"], s["labels"], s["chain"], s["object_index"], strict=True
        ):
            objects = [s["objects"][i].float() for i in chain if i >= 0]
            areas = [float(mask.sum()) for mask in objects]
            assert areas == sorted(areas), "innermost first"
            if label[0] == 1:
                x, y = (point[0] / 2).int().tolist()
                assert all(mask[y, x] > 0 for mask in objects)
                assert (index < 0) == (len(objects) == 0)
            else:
                assert label.tolist() == [2, 3]
                assert (point[1] > point[0]).all()


def test_samples_are_reproducible():
    a, b = sample(1), sample(1)
    assert all(torch.equal(a[key], b[key]) for key in a)


# ---- decoder


def test_decode_equals_segment_anythings_decoder(sam):
    torch.manual_seed(1)
    embedding, coords = torch.randn(2, 256, 8, 8), torch.rand(2, 3, 2, 2) * 64
    labels = torch.tensor([[1, -1], [1, -1], [2, 3]]).expand(2, 3, 2)
    with torch.inference_mode():
        logits, score, _ = decode(sam, embedding, coords, labels, 64)
        pe = sam.prompt_encoder.pe_layer((8, 8))[None]
        prompt = sam.prompt_encoder
        for b in range(2):
            sparse = encode_positions(sam, coords[b], 64)
            sparse[:2, 0] += prompt.point_embeddings[1].weight
            sparse[:2, 1] = prompt.not_a_point_embed.weight
            sparse[2, 0] += prompt.point_embeddings[2].weight[0]
            sparse[2, 1] += prompt.point_embeddings[3].weight[0]
            dense = prompt.no_mask_embed.weight.view(1, -1, 1, 1).expand(3, -1, 8, 8)
            expected = sam.mask_decoder.predict_masks(embedding[b : b + 1], pe, sparse, dense)
            assert torch.allclose(logits[3 * b : 3 * b + 3], expected[0], rtol=1e-4, atol=1e-4)
            assert torch.allclose(score[3 * b : 3 * b + 3], expected[1], rtol=1e-4, atol=1e-4)


def test_upscale_embedding_equals_the_decoders_upscaling(sam):
    embedding = torch.randn(2, 256, 4, 6)
    with torch.inference_mode():
        expected = sam.mask_decoder.output_upscaling(embedding)
        assert torch.allclose(upscale_embedding(sam.mask_decoder, embedding), expected, atol=1e-5)


# ---- losses


def test_a_perfect_mask_costs_nothing():
    truth = square()
    assert mask_loss(40 * (truth * 2 - 1), truth) < 1e-3


def test_the_loss_of_zero_logits_has_a_closed_form():
    truth = square()  # no edge pixels: weights are 1
    share = truth.mean()
    entropy = math.log(2) / (0.5 * share.sqrt())
    area = truth.sum()
    dice = 1 - (area + 1) / (0.5 * 256 + area + 1)
    assert mask_loss(torch.zeros(256), truth) == pytest.approx(float(entropy + dice), rel=1e-5)


def test_the_loss_of_an_empty_object_is_finite_and_smallest_for_an_empty_mask():
    truth = torch.zeros(256)
    empty, full = mask_loss(torch.full((256,), -30.0), truth), mask_loss(torch.zeros(256), truth)
    assert empty < 1e-3 < full < math.inf


def test_edge_pixels_have_three_times_the_weight():
    truth = square()
    truth[:32] = 0.5  # 16 x 16 pixels, so 32 of 256 lie on an edge
    share = truth.mean()
    entropy = math.log(2) * (256 + 2 * 32) / 256 / (0.5 * share.sqrt())
    area = truth.sum()
    dice = 1 - (area + 1) / (0.5 * 256 + area + 1)
    assert mask_loss(torch.zeros(256), truth) == pytest.approx(float(entropy + dice), rel=1e-5)


def test_nested_objects_are_assigned_to_different_outputs():
    part, whole = square(side=4), square(side=9)
    truth = torch.stack([part, whole, torch.zeros(256)])[None]
    valid = torch.tensor([[True, True, False]])
    # output 0 equals the whole, output 2 the part, output 1 resembles the whole
    logits = 20 * (torch.stack([whole, square(side=8), part])[None] * 2 - 1)
    index, weight = match_outputs(logits, truth, valid)
    assert index.tolist() == [[1, 1, 0]]
    assert weight[0].tolist() == pytest.approx([1, 0.1, 1])
    right = nested_loss(logits, truth, valid)
    assert right < nested_loss(logits, truth[:, [0, 0, 2]], valid)


def test_every_output_gets_a_gradient():
    truth = square()[None, None].expand(1, 3, -1)
    logits = torch.zeros(1, 3, 256, requires_grad=True)
    nested_loss(logits, truth, torch.tensor([[True, False, False]])).backward()
    assert (logits.grad.abs().sum(-1) > 0).all()


def test_without_objects_the_loss_is_zero():
    logits = torch.randn(2, 3, 256, requires_grad=True)
    loss = nested_loss(logits, torch.zeros(2, 3, 256), torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().sum() == 0


def test_true_iou_in_closed_form():
    part, whole = square(side=4), square(side=8)
    truth = torch.stack([part, whole, whole])[None]
    logits = torch.stack([part, whole, torch.zeros(256), torch.ones(256)])[None] - 0.5
    both = torch.tensor([[True, True, False]])
    assert true_iou(logits, truth, both)[0].tolist() == pytest.approx([1, 1, 0, 64 / 256])
    only = torch.tensor([[True, False, False]])
    assert true_iou(logits, truth, only)[0].tolist() == pytest.approx([1, 0.25, 0, 16 / 256])
    assert true_iou(logits, truth, torch.zeros(1, 3, dtype=torch.bool)).abs().sum() == 0


def test_every_part_of_the_model_receives_a_gradient(sam):
    aux = AnchorMasks()
    parts = losses(sam, aux, collate([sample(0), sample(1)]))
    sum(parts[name] for name in ("anchor", "hint", "mask", "single", "score")).backward()
    unused = {
        name
        for name, p in sam.named_parameters()
        if p.grad is None or (p.ndim > 1 and not p.grad.abs().sum())
    }
    untrained = ("prompt_encoder.mask_downscaling", "prompt_encoder.point_embeddings.0")
    assert all(name.startswith(untrained) for name in unused), unused
    assert all(p.grad is not None for p in aux.parameters())
    sam.zero_grad(set_to_none=True)


# ---- calibration


def test_the_temperature_gives_good_masks_the_chosen_stability(sam):
    """The stability decreases linearly with the offset, so the factor has a closed form."""
    model = copy.deepcopy(sam)
    slope = 0.5  # stability 0.9 at an offset of 0.2
    stability = torch.from_numpy(1 - slope * OFFSETS).float().repeat(50, 1)
    outputs = GridOutputs(torch.zeros(50, 256), torch.full((50, 4), 0.8), stability)
    factor = fit_temperature(model, outputs)
    assert factor == pytest.approx(slope / (1 - GOOD_STABILITY), rel=0.02)
    torch.manual_seed(1)
    prompt = torch.randn(1, 256, 8, 8), torch.rand(1, 2, 2, 2) * 64, torch.tensor([[[1, -1]] * 2])
    with torch.inference_mode():
        before, after = decode(sam, *prompt, 64), decode(model, *prompt, 64)
    assert torch.allclose(after[0], factor * before[0], rtol=1e-3, atol=1e-3)
    assert torch.equal(after[1], before[1])


def test_without_good_masks_the_temperature_is_one(sam):
    outputs = GridOutputs(torch.zeros(5, 256), torch.zeros(5, 4), torch.ones(5, len(OFFSETS)))
    assert fit_temperature(copy.deepcopy(sam), outputs) == 1.0


def test_the_iou_head_learns_the_true_iou(sam):
    model = copy.deepcopy(sam)
    token = torch.randn(512, 256)
    iou = (token[:, :1] > 0).float().expand(-1, 4).clone()
    fit_scores(model, GridOutputs(token, iou, torch.empty(0)), seed=0)
    with torch.inference_mode():
        predicted = model.mask_decoder.iou_prediction_head(token)
    assert torch.nn.functional.mse_loss(predicted, iou) < 0.1  # of 0.25


def test_calibration_changes_only_the_scores_and_the_scale(sam):
    model = copy.deepcopy(sam)
    calibrate(model, seed=0, scenes=2, size=64)
    changed = {
        name
        for (name, a), b in zip(sam.state_dict().items(), model.state_dict().values(), strict=True)
        if not torch.equal(a, b)
    }
    allowed = ("mask_decoder.iou_prediction_head", "mask_decoder.output_hypernetworks_mlps")
    assert changed
    assert all(name.startswith(allowed) for name in changed)


def test_grid_outputs_are_reproducible(sam):
    a, b = (grid_outputs(sam, 4, 1, side=3, size=64) for _ in range(2))
    assert a.token.shape == (9, 256)
    assert torch.equal(a.iou, b.iou)
    assert (a.stability.diff(dim=-1) <= 1e-6).all()


# ---- the run


def test_the_learning_rate_rises_stays_constant_and_falls():
    s = SamSettings(steps=100, warm_up=10, decay_share=0.5, learning_rate=1.0)
    assert learning_rate(0, s) == pytest.approx(0.1)
    assert learning_rate(10, s) == learning_rate(50, s) == 1.0
    assert learning_rate(99, s) < 0.03


def test_a_resumed_run_gives_the_same_weights(tmp_path):
    tiny = SamSettings(
        steps=3, batch_size=2, points=2, anchors=3, warm_up=1, anchor_share=0.34, small_share=0.5,
        save_every=100, validate_every=100, validation_scenes=1, calibration_scenes=1,
        bfloat16=False,
    )  # fmt: skip
    sizes = (32, 64)
    uninterrupted = train_compact_sam(tmp_path / "a.pt", tiny, sizes, workers=0)
    train_compact_sam(tmp_path / "b.pt", tiny, sizes, stop_after=2, workers=0)
    assert not (tmp_path / "b.pt").exists()
    for run in (train_compact_sam, pretrain):
        with pytest.raises(
            InputError, match=r"b\.pt\.resume\.pt .* other settings\. .*delete the file"
        ):
            run(tmp_path / "b.pt", replace(tiny, seed=7))
    resumed = train_compact_sam(tmp_path / "b.pt", tiny, sizes, workers=0)
    for a, b in zip(uninterrupted.parameters(), resumed.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pt", "b.pt"]
    build_compact_sam(tmp_path / "a.pt")


def test_training_starts_from_a_checkpoint(tmp_path, sam):
    """At a learning rate of 0 the weights stay those of the checkpoint, in half precision."""
    save_compact_sam(sam, tmp_path / "first.pt")
    settings = SamSettings(
        initial=str(tmp_path / "first.pt"), steps=1, batch_size=1, points=1, anchors=1,
        learning_rate=0.0, validation_scenes=1, calibration_scenes=1, bfloat16=False,
    )  # fmt: skip
    result = train_compact_sam(tmp_path / "second.pt", settings, (32, 32), workers=0)
    # the calibration at the end changes only heads of the mask decoder
    initial = build_compact_sam(tmp_path / "first.pt").image_encoder.state_dict()
    for name, value in result.image_encoder.state_dict().items():
        assert torch.equal(value, initial[name]), name


def test_a_missing_initial_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.pt: no such file"):
        train_compact_sam(tmp_path / "a.pt", SamSettings(initial=str(tmp_path / "none.pt")))


def test_a_batch_that_the_processes_cannot_share_is_refused(tmp_path):
    with pytest.raises(InputError, match="batch_size 3"):
        pretrain(tmp_path / "a.pt", SamSettings(batch_size=3, processes=2))
