"""BiomedCLIP and its saliency map of a text on a slice, the first half of MedCLIP-SAM.

Zhang et al., "BiomedCLIP: a multimodal biomedical foundation model pretrained from fifteen million
scientific image-text pairs", 2023, through open_clip.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip import CustomTextCLIP, load_checkpoint
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertTokenizer

from umsam.baselines.gscorecam import gscorecam
from umsam.errors import InputError, one_line

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_pytorch_model.bin"
VOCABULARY = "vocab.txt"


@dataclass(frozen=True)
class BiomedClip:
    """BiomedCLIP in evaluation mode, with its tokenizer and its image statistics."""

    model: CustomTextCLIP
    tokenizer: BertTokenizer
    context_length: int
    mean: Tensor
    std: Tensor

    @property
    def layer(self) -> nn.Module:
        """The layer of the saliency map: the last layer norm of the image tower's last block."""
        return self.model.visual.trunk.blocks[-1].norm2

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """The mean feature of the texts, L2-normalised: [D]."""
        tokens = self.tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self.context_length,
            return_tensors="pt",
        )
        features = self.model.encode_text(tokens.input_ids.to(self.mean.device), normalize=True)
        return F.normalize(features.mean(dim=0), dim=-1)

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """The network's input [1, 3, S, S]: a slice [H, W, 3] resized to a square, not cropped."""
        pixels = torch.from_numpy(image).to(self.mean.device).permute(2, 0, 1)[None] / 255
        size = self.model.visual.image_size
        resized = F.interpolate(pixels, size=size, mode="bicubic", antialias=True).clamp(0, 1)
        return (resized - self.mean) / self.std

    def compute_saliency(
        self, image: NDArray[np.uint8], text_feature: Tensor, channels: int, batch_size: int
    ) -> NDArray[np.float32]:
        """The gScoreCAM map [H, W] in [0, 1] of a text on a slice, uint8 [H, W, 3].

        text_feature: [D], from `encode_texts`.
        channels, batch_size: as in `gscorecam`.
        """
        scale = self.model.logit_scale.detach().exp()

        def score(pixels: Tensor) -> Tensor:
            return scale * self.model.encode_image(pixels, normalize=True) @ text_feature

        saliency = gscorecam(
            score,
            self.layer,
            self.model.visual.trunk.num_prefix_tokens,
            self.preprocess(image),
            channels,
            batch_size,
        )
        resized = F.interpolate(saliency[None, None], size=image.shape[:2], mode="bilinear")
        return resized[0, 0].cpu().numpy()


def load_biomedclip(folder: str | Path, text_folder: str | Path, device: str) -> BiomedClip:
    """Load BiomedCLIP from local files, without a download.

    Parameters
    ----------
    folder
        Contains open_clip_config.json and open_clip_pytorch_model.bin.
    text_folder
        Contains config.json and vocab.txt of the text encoder (BiomedBERT), to which the
        configuration refers only by name.
    device
        Device of the model.

    Raises
    ------
    InputError
        The folders do not contain the model, or its image tower is not a vision transformer.
    """
    folder, text_folder = Path(folder), Path(text_folder)
    try:
        (text_folder / VOCABULARY).stat()  # transformers would create an empty vocabulary
        tokenizer = BertTokenizer.from_pretrained(text_folder, local_files_only=True)
        config = json.loads((folder / CONFIG).read_text())
        shape, preprocessing = config["model_cfg"], config["preprocess_cfg"]
        shape["text_cfg"] |= {"hf_model_name": str(text_folder), "hf_model_pretrained": False}
        shape["vision_cfg"]["timm_model_pretrained"] = False
        model = CustomTextCLIP(**shape)
        load_checkpoint(model, str(folder / WEIGHTS))
        mean, std = (
            torch.tensor(preprocessing[name]).view(3, 1, 1).to(device) for name in ("mean", "std")
        )
        loaded = BiomedClip(model, tokenizer, shape["text_cfg"]["context_length"], mean, std)
        loaded.layer  # noqa: B018  raises for an image tower that is not a vision transformer
    except Exception as error:  # open_clip, timm and transformers raise errors of many types
        raise InputError(
            f"{folder} and {text_folder} do not contain BiomedCLIP and its text encoder "
            f"({one_line(error)}). Replace the files (`snakemake baseline_weights` downloads "
            "missing ones), or set baselines.weights.biomedclip.folder and "
            "baselines.weights.biomedbert.folder to other copies."
        ) from error
    model.eval().requires_grad_(False).to(device)
    return loaded
