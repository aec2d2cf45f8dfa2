"""CLIP in the official format: features equal the model's, and errors name the folder."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torchvision.transforms import v2

from umsam.baselines.clip import load_clip
from umsam.baselines.salip import crop_on_black
from umsam.errors import InputError


@pytest.fixture(scope="module")
def clip(clip_folder):
    return load_clip(clip_folder, "cpu")


def crops(*shapes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*shape, 3)).astype(np.uint8) for shape in shapes]


def test_similarities_equal_those_of_the_model(clip):
    """The reference calls the towers one crop at a time, on images preprocessed by torchvision."""
    images = crops((40, 30), (32, 32), (3, 3), (60, 24))
    prepare = v2.Compose(
        [
            v2.Resize(32, interpolation=v2.InterpolationMode.BICUBIC),
            v2.CenterCrop(32),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]),
        ]
    )
    feature = torch.randn(16)
    expected = []
    for image in images:
        vision = clip.model.vision_model(prepare(Image.fromarray(image))[None]).pooler_output
        expected.append(
            F.cosine_similarity(clip.model.visual_projection(vision)[0], feature, dim=0)
        )
    unit = F.normalize(feature, dim=0)
    for batch_size in (1, 3, 8):
        similarity = clip.compute_similarity(images, unit, batch_size)
        np.testing.assert_allclose(similarity, torch.stack(expected).detach(), atol=5e-3)


def test_a_class_feature_is_the_mean_of_its_descriptions(clip):
    texts = ["a brain", "a rounder brain", "x"]
    features = []
    for description in texts:
        tokens = clip.texts(description, return_tensors="pt")
        text = clip.model.text_model(**tokens).pooler_output
        features.append(clip.model.text_projection(text)[0].detach())
    expected = F.normalize(torch.stack(features).mean(dim=0), dim=0)
    np.testing.assert_allclose(clip.encode_class(texts), expected, atol=1e-5)
    assert not np.allclose(clip.encode_class(texts), clip.encode_class(texts[:1]), atol=1e-3)


def test_long_descriptions_are_truncated(clip):
    long = "the brain of a fetus is round"
    assert torch.equal(clip.encode_class([long]), clip.encode_class([long + " and soft" * 20]))


def test_cutting_off_the_ends_of_a_long_crop_does_not_change_its_similarity(clip):
    (image,) = crops((8, 120))
    trimmed = crop_on_black(image, np.ones(image.shape[:2], bool))
    assert trimmed.shape[1] < 30
    feature = F.normalize(torch.randn(16), dim=0)
    full, cut = clip.compute_similarity([image, trimmed], feature, 1)
    assert cut == pytest.approx(full, abs=1e-3)


@pytest.mark.parametrize("fault", ["absent", "cut", "text", "lacking", "no tokenizer"])
def test_an_error_names_the_folder_and_the_setting(clip_folder, tmp_path, fault):
    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    weights = folder / "model.safetensors"
    if fault == "absent":
        weights.unlink()
    elif fault == "cut":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif fault == "text":
        weights.write_text("not found")
    elif fault == "lacking":
        from safetensors.torch import load_file, save_file

        state = load_file(weights)
        del state["visual_projection.weight"]
        save_file(state, weights, metadata={"format": "pt"})
    else:
        (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"clip(:| does).*baselines\.weights\.clip"):
        load_clip(folder, "cpu")
