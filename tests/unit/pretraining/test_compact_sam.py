"""The compact SAM under segment_anything's own predictor and generator."""

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor

from umsam.models.compact_sam import build_compact_sam, save_compact_sam


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return build_compact_sam()


def test_the_model_has_fewer_than_7_million_parameters(sam):
    assert sum(p.numel() for p in sam.parameters()) < 7e6


@pytest.mark.parametrize("shape", [(96, 96), (150, 200), (320, 256)])
def test_the_predictor_accepts_images_of_any_shape(sam, shape):
    rgb = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    predictor = SamPredictor(sam)
    predictor.set_image(rgb)
    assert predictor.get_image_embedding().shape == (1, 256, 24, 24)
    masks, iou, low = predictor.predict(
        point_coords=np.array([[shape[1] / 2, shape[0] / 2]]), point_labels=np.array([1])
    )
    assert masks.shape == (3, *shape)
    assert iou.shape == (3,)
    assert low.shape == (3, 96, 96)
    masks, *_ = predictor.predict(box=np.array([10, 10, 60, 70]), multimask_output=False)
    assert masks.shape == (1, *shape)


def test_metas_generator_runs_unmodified(sam):
    rgb = np.random.default_rng(0).integers(0, 255, (80, 112, 3), dtype=np.uint8)
    generator = SamAutomaticMaskGenerator(
        sam, points_per_side=2, pred_iou_thresh=-9.0, stability_score_thresh=0.0
    )
    masks = generator.generate(rgb)
    assert masks
    assert all(m["segmentation"].shape == (80, 112) for m in masks)


@pytest.mark.parametrize("size", [128, 192, 256])
def test_the_embedding_has_a_stride_of_eight(sam, size):
    with torch.inference_mode():
        assert sam.image_encoder(torch.randn(1, 3, size, size)).shape == (
            1,
            256,
            size // 8,
            size // 8,
        )


def test_a_checkpoint_restores_the_weights_in_half_precision(sam, tmp_path):
    path = tmp_path / "compact.pt"
    save_compact_sam(sam, path)
    assert path.stat().st_size < 15e6
    torch.manual_seed(1)
    again = build_compact_sam(path)
    for (name, a), b in zip(sam.state_dict().items(), again.state_dict().values(), strict=True):
        assert b.dtype == torch.float32
        assert torch.equal(a.half().float(), b), name


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(RuntimeError, match="Missing key"):
        build_compact_sam(tmp_path / "other.pt")


def test_an_untrained_decoder_attends_to_the_place_of_the_prompt():
    """In the first layer, mask tokens attend to the surroundings of the prompt."""
    torch.manual_seed(0)
    sam = build_compact_sam()
    attention = {}
    block = sam.mask_decoder.transformer.layers[0].cross_attn_token_to_image

    def keep(module, args, kwargs):
        q, k = module.q_proj(kwargs["q"]), module.k_proj(kwargs["k"])
        q, k = (module._separate_heads(x, module.num_heads) for x in (q, k))
        attention["weight"] = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1).mean(1)

    handle = block.register_forward_pre_hook(keep, with_kwargs=True)
    point = torch.tensor([[[60.0, 132.0]]])
    with torch.inference_mode():
        sparse, dense = sam.prompt_encoder((point, torch.ones(1, 1)), None, None)
        embedding = torch.randn(1, 256, 24, 24)
        sam.mask_decoder(embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense, True)
    handle.remove()
    weight = attention["weight"][0, 1:5].mean(0).view(24, 24)
    near = weight[14:19, 5:10].sum()
    assert near > 4 * 25 / 576  # four times as much as with uniform attention
