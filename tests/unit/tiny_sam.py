"""Small SAMs with random weights, built from Meta's own modules."""

from functools import partial

import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

SIZE, PATCH, CHANNELS = 64, 16, 32
SETTINGS = {
    "points_per_side": 3,
    "points_per_batch": 4,
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
    "stability_score_offset": 1.0,
    "box_nms_thresh": 0.7,
    "crop_n_layers": 0,
    "min_mask_region_area": 0,
    "precision": "fp32",
}


def tiny_sam(checkpoint=None, channels=CHANNELS):
    grid = SIZE // PATCH
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=SIZE,
            patch_size=PATCH,
            embed_dim=24,
            depth=1,
            num_heads=2,
            out_chans=channels,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            global_attn_indexes=(0,),
        ),
        prompt_encoder=PromptEncoder(channels, (grid, grid), (SIZE, SIZE), mask_in_chans=4),
        mask_decoder=MaskDecoder(
            transformer_dim=channels,
            transformer=TwoWayTransformer(2, channels, num_heads=2, mlp_dim=32),
            iou_head_hidden_dim=16,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    ).eval()


class NoEncoder(torch.nn.Module):
    img_size = 64


def random_sam(seed, grid=(4, 4), channels=32, heads=4, depth=2, downsample=2, outputs=3):
    """Return a SAM whose norms and biases are random too, as in a trained decoder."""
    torch.manual_seed(seed)
    transformer = TwoWayTransformer(
        depth, channels, heads, mlp_dim=48, attention_downsample_rate=downsample
    )
    decoder = MaskDecoder(
        transformer_dim=channels,
        transformer=transformer,
        num_multimask_outputs=outputs,
        iou_head_hidden_dim=24,
    )
    for name, parameter in decoder.named_parameters():
        if "norm" in name or "bias" in name:
            parameter.data += 0.3 * torch.randn_like(parameter)
    prompts = PromptEncoder(channels, grid, (64, 64), mask_in_chans=4)
    return Sam(NoEncoder(), prompts, decoder, [0.0] * 3, [1.0] * 3).eval()


def best_ious(actual, expected):
    """Return the largest IoU of each expected mask of a slice with an actual one."""
    return [
        max(((m & e).sum() / (m | e).sum() for m in actual.masks), default=0.0)
        for e in expected.masks
    ]
