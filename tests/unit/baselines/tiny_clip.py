"""Small CLIP and BiomedCLIP models with random weights, in the official format."""

import json
from copy import deepcopy
from pathlib import Path

import torch

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "fetal",
    "brain",
    "pro",
    "##state",
    "mri",
]
TEXT_LENGTH = 12
BIOMEDCLIP = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {
            "timm_model_name": "test_vit",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": 160,
        },
        "text_cfg": {
            "hf_model_name": "an/encoder-on-the-hub",
            "hf_tokenizer_name": "an/encoder-on-the-hub",
            "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            "context_length": TEXT_LENGTH,
        },
    },
    "preprocess_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]},
}


def write_clip(folder):
    """A CLIP with two layers, 32 channels, images of 32 x 32 pixels and a token for each letter."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 4}  # fmt: skip
    torch.manual_seed(0)
    model = CLIPModel(
        CLIPConfig(
            text_config={**sizes, "vocab_size": len(words), "max_position_embeddings": 24,
                         "bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1},
            vision_config={**sizes, "image_size": 32, "patch_size": 8},
            projection_dim=16,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[]).save_pretrained(
        folder
    )
    CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return model.eval()


def write_biomedclip(folder, network="test_vit"):
    """timm's smallest vision transformer and, in a subfolder, a BERT with two layers."""
    import open_clip
    from transformers import BertConfig

    folder, text = Path(folder), Path(folder) / "text"
    BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=TEXT_LENGTH,
    ).save_pretrained(text)  # fmt: skip
    (text / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    torch.manual_seed(0)
    config = deepcopy(BIOMEDCLIP)
    config["model_cfg"]["vision_cfg"]["timm_model_name"] = network
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    config["model_cfg"]["text_cfg"] |= {"hf_model_name": str(text), "hf_model_pretrained": False}
    model = open_clip.CustomTextCLIP(**config["model_cfg"])
    state = model.state_dict()
    # Published files contain this buffer, which the class in transformers does not have.
    state["text.transformer.embeddings.position_ids"] = torch.arange(TEXT_LENGTH)[None]
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    return model.eval()
