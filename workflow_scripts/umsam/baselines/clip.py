"""CLIP, as SaLIP uses it: how well crops of a slice fit the descriptions of a class.

Radford et al., "Learning transferable visual models from natural language supervision", 2021,
through transformers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from umsam.errors import InputError, short

FILES = (
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


@dataclass(frozen=True)
class Clip:
    """A CLIP model in evaluation mode with its own preprocessing of images and texts."""

    model: CLIPModel
    images: CLIPImageProcessor
    texts: CLIPTokenizer

    @torch.inference_mode()
    def class_feature(self, descriptions: Sequence[str]) -> Tensor:
        """The mean of the descriptions' text features, of length 1: [D].

        As in SaLIP, the mean is of the features as they are, the longer ones counting for more.
        A description that is too long for CLIP loses its end.
        """
        tokens = self.texts(
            list(descriptions),
            padding=True,
            truncation=True,
            max_length=self.model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        features = self.model.get_text_features(**tokens.to(self.model.device)).pooler_output
        return F.normalize(features.mean(dim=0), dim=-1)

    @torch.inference_mode()
    def similarity(
        self, crops: Sequence[NDArray[np.uint8]], class_feature: Tensor, batch_size: int
    ) -> NDArray[np.float32]:
        """Cosine of each crop's feature, uint8 [h, w, 3], with `class_feature`: [N]."""
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
    """CLIP from a folder in the hub's format; weights are read from model.safetensors alone.

    Raises
    ------
    InputError
        The folder does not hold a CLIP model.
    """
    folder = Path(folder)
    try:
        for name in FILES:  # transformers makes up an empty tokenizer where it finds none
            (folder / name).stat()
        model, report = CLIPModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        images = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
        texts = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises the errors of several libraries
        raise InputError(
            f"{folder}: does not hold a CLIP model ({short(error)}). See baselines.weights.clip."
        ) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise InputError(
            f"{folder}: model.safetensors lacks {len(missing)} weights of CLIP, the first "
            f"{missing[0]}. See baselines.weights.clip."
        )
    return Clip(model.eval().to(device), images, texts)
