"""A small BiomedCLIP in the official format: loading, text and image input, saliency, errors."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_clip import BIOMEDCLIP, TEXT_LENGTH, WORDS, write_biomedclip
from torch.nn import functional as F

from umsam.baselines.biomedclip import BiomedClip, load_biomedclip
from umsam.errors import InputError


@pytest.fixture(scope="module")
def clip(biomedclip_folder):
    return load_biomedclip(biomedclip_folder, biomedclip_folder / "text", "cpu")


def slice_of(height, width):
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8)).astype(np.uint8))
    grey = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR))
    return np.repeat(grey[..., None], 3, axis=2)


def test_the_weights_equal_those_in_the_file(clip, tmp_path):
    saved = write_biomedclip(tmp_path).state_dict()
    loaded = clip.model.state_dict()
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[key], loaded[key]) for key in saved)
    assert not clip.model.training


def test_texts_are_tokenised_with_the_vocabulary(clip):
    words = ["[CLS]", "a", "fetal", "pro", "##state", "[UNK]", "mri", "[SEP]"]
    tokens = torch.tensor([[WORDS.index(w) for w in words] + [0] * (TEXT_LENGTH - len(words))])
    expected = F.normalize(clip.model.text(tokens), dim=-1)[0]
    torch.testing.assert_close(clip.encode_texts(["A fetal prostate, MRI"]), expected)
    both = clip.encode_texts(["a fetal brain", "MRI"])
    single = [clip.encode_texts([text]) for text in ("a fetal brain", "MRI")]
    torch.testing.assert_close(both, F.normalize(torch.stack(single).sum(dim=0), dim=0))


def test_preprocessing_keeps_the_whole_slice(clip):
    image = slice_of(96, 128)
    square = Image.fromarray(image).resize((160, 160), Image.Resampling.BICUBIC)
    statistics = BIOMEDCLIP["preprocess_cfg"]
    expected = (np.asarray(square) / 255 - statistics["mean"]) / statistics["std"]
    np.testing.assert_allclose(clip.preprocess(image)[0].permute(1, 2, 0), expected, atol=0.02)


def test_the_saliency_covers_the_slice(clip):
    image = slice_of(96, 128)
    text = clip.encode_texts(["brain"])
    saliency = clip.compute_saliency(image, text, channels=20, batch_size=6)
    assert saliency.shape == (96, 128)
    assert 0 <= saliency.min() < 0.2
    assert 0.8 < saliency.max() <= 1
    opposite = clip.compute_saliency(image, -text, channels=20, batch_size=6)
    assert np.abs(saliency - opposite).max() > 0.1


def test_the_saliency_is_a_channel_of_the_image_tower(clip):
    """If the head reads a single channel, the map is that channel for every text."""
    import copy

    model = copy.deepcopy(clip.model)
    trunk, channel = model.visual.trunk, 7
    model.logit_scale.data.fill_(6.0)
    one_channel = BiomedClip(model, clip.tokenizer, clip.context_length, clip.mean, clip.std)
    image = slice_of(160, 160)
    with torch.no_grad():
        trunk.blocks[-1].norm2.weight.fill_(0.0)[channel] = 1.0
        trunk.blocks[-1].norm2.bias.fill_(0.0)
        outputs = []
        hook = trunk.blocks[-1].norm2.register_forward_hook(lambda m, i, o: outputs.append(o))
        model.encode_image(one_channel.preprocess(image))
        hook.remove()
    expected = outputs[0][0, 1:, channel].reshape(10, 10).clamp(min=0)
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    saliency = one_channel.compute_saliency(image, torch.ones(16) / 4, channels=64, batch_size=64)
    resized = F.interpolate(expected[None, None], size=(160, 160), mode="bilinear")[0, 0]
    np.testing.assert_allclose(saliency, resized, atol=1e-4)


@pytest.mark.parametrize(
    "fault", ["no weights", "no vocabulary", "cut", "text", "object", "another text", "no vit"]
)
def test_an_error_names_the_folder_and_the_setting(biomedclip_folder, tmp_path, fault):
    folder, text = tmp_path / "biomedclip", tmp_path / "biomedclip/text"
    shutil.copytree(biomedclip_folder, folder)
    weights, config = folder / "open_clip_pytorch_model.bin", folder / "open_clip_config.json"
    if fault == "no weights":
        weights.unlink()
    elif fault == "no vocabulary":
        (text / "vocab.txt").unlink()
    elif fault == "cut":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif fault == "text":
        config.write_text("not found")
    elif fault == "object":
        torch.save(tmp_path, weights)  # a Path, which weights_only refuses
    elif fault == "another text":
        shape = (text / "config.json").read_text()
        (text / "config.json").write_text(shape.replace('"hidden_size": 32', '"hidden_size": 16'))
    else:
        network = write_biomedclip(folder, "test_resnet")
        assert not hasattr(network.visual.trunk, "blocks")
    with pytest.raises(InputError, match=r"biomedclip and .*baselines\.weights\.biomedclip"):
        load_biomedclip(folder, text, "cpu")
