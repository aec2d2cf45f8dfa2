"""A small SAM2 video model of transformers with random weights."""

import torch
from transformers import Sam2VideoConfig, Sam2VideoModel
from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig

SIZE, CHANNELS = 64, 128


def small_config() -> Sam2VideoConfig:
    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[SIZE, SIZE],
        blocks_per_stage=[1, 2, 1, 2],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 1, 1],
        window_size_per_stage=[4, 4, 4, 2],
        global_attention_blocks=[5],
        window_positional_embedding_background_size=[4, 4],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[SIZE // stride] * 2 for stride in (4, 8, 16)],
        fpn_hidden_size=CHANNELS,
    )
    return Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": CHANNELS, "image_size": SIZE},
        mask_decoder_config={
            "hidden_size": CHANNELS,
            "mlp_dim": 32,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
        image_size=SIZE,
        memory_attention_hidden_size=CHANNELS,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[SIZE // 16] * 2,
        memory_encoder_hidden_size=CHANNELS,
        mask_downsampler_embed_dim=CHANNELS,
        memory_fuser_embed_dim=CHANNELS,
        memory_fuser_intermediate_dim=32,
        memory_fuser_num_layers=1,
    )


def small_sam2(seed: int = 0) -> Sam2VideoModel:
    torch.manual_seed(seed)
    return Sam2VideoModel(small_config()).eval()
