"""CLIP as in SaLIP: the similarity of crops of a slice to the descriptions of a class.

Radford et al., "Learning transferable visual models from natural language supervision", 2021,
through transformers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from umsam.errors import InputError, one_line

FILES = (
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
REMEDY = (
    "Replace the files (`snakemake baseline_weights` downloads missing ones), or set "
    "baselines.weights.clip.folder to another copy."
)


@dataclass(frozen=True)
class Clip:
    """A CLIP model in evaluation mode, with its image processor and tokenizer."""

    model: CLIPModel
    images: CLIPImageProcessor
    texts: CLIPTokenizer

    @torch.inference_mode()
    def encode_class(self, descriptions: Sequence[str]) -> Tensor:
        """The mean of the descriptions' text features, L2-normalised: [D].

        As in SaLIP, the features are not normalised before the mean. Descriptions that are too long
        for CLIP are truncated.
        """
        tokens = self.texts(
            list(descriptions),
            padding=True,
            truncation=True,
            max_length=self.model.text_model.config.max_position_embeddings,
            return_tensors="pt",
        )
        features = self.model.get_text_features(**tokens.to(self.model.device)).pooler_output
        return F.normalize(features.mean(dim=0), dim=-1)

    @torch.inference_mode()
    def compute_similarity(
        self, crops: Sequence[NDArray[np.uint8]], class_feature: Tensor, batch_size: int
    ) -> NDArray[np.float32]:
        """Cosine similarity [N] of each crop, uint8 [h, w, 3], to a class feature [D]."""
        cosines = []
        for start in range(0, len(crops), batch_size):
            batch = self.images(
                list(crops[start : start + batch_size]),
                input_data_format="channels_last",
                return_tensors="pt",
            )
            features = self.model.get_image_features(**batch.to(self.model.device)).pooler_output
            cosines.append(F.normalize(features, dim=-1) @ class_feature)
        return torch.cat(cosines).float().cpu().numpy()


def load_clip(folder: str | Path, device: str) -> Clip:
    """Load CLIP from a folder in transformers' format, with weights in model.safetensors.

    Raises
    ------
    InputError
        The folder does not contain a CLIP model, or weights are missing.
    """
    folder = Path(folder)
    try:
        for name in FILES:  # transformers would create an empty tokenizer
            (folder / name).stat()
        loaded: Any = CLIPModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        model, report = loaded
        images = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
        texts = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises errors of several libraries
        raise InputError(
            f"{folder} does not contain a CLIP model ({one_line(error)}). {REMEDY}"
        ) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise InputError(
            f"{folder}: model.safetensors lacks {len(missing)} weights of CLIP, for example "
            f"{missing[0]}. {REMEDY}"
        )
    return Clip(model.eval().to(device), images, texts)
