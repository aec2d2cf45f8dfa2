"""BiomedCLIP in the official format, of the same classes, small: loaded, asked, and refused."""

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


def test_the_weights_are_those_of_the_file(clip, tmp_path):
    saved = write_biomedclip(tmp_path).state_dict()
    loaded = clip.model.state_dict()
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[key], loaded[key]) for key in saved)
    assert not clip.model.training


def test_texts_become_the_tokens_of_the_vocabulary(clip):
    words = ["[CLS]", "a", "fetal", "pro", "##state", "[UNK]", "mri", "[SEP]"]
    tokens = torch.tensor([[WORDS.index(w) for w in words] + [0] * (TEXT_LENGTH - len(words))])
    expected = F.normalize(clip.model.text(tokens), dim=-1)[0]
    torch.testing.assert_close(clip.text_feature(["A fetal prostate, MRI"]), expected)
    both = clip.text_feature(["a fetal brain", "MRI"])
    each = [clip.text_feature([text]) for text in ("a fetal brain", "MRI")]
    torch.testing.assert_close(both, F.normalize(torch.stack(each).sum(dim=0), dim=0))


def test_the_network_sees_the_whole_slice(clip):
    image = slice_of(96, 128)
    square = Image.fromarray(image).resize((160, 160), Image.Resampling.BICUBIC)
    statistics = BIOMEDCLIP["preprocess_cfg"]
    expected = (np.asarray(square) / 255 - statistics["mean"]) / statistics["std"]
    np.testing.assert_allclose(clip.pixels(image)[0].permute(1, 2, 0), expected, atol=0.02)


def test_the_saliency_covers_the_slice(clip):
    image = slice_of(96, 128)
    text = clip.text_feature(["brain"])
    found = clip.saliency(image, text, channels=20, batch_size=6)
    assert found.shape == (96, 128)
    assert 0 <= found.min() < 0.2
    assert 0.8 < found.max() <= 1
    opposite = clip.saliency(image, -text, channels=20, batch_size=6)
    assert np.abs(found - opposite).max() > 0.1


def test_the_vision_tower_decides_where(clip):
    """The class token's head picks one channel: the map is that channel's, whatever the text."""
    import copy

    model = copy.deepcopy(clip.model)
    trunk, channel = model.visual.trunk, 7
    model.logit_scale.data.fill_(6.0)
    known = BiomedClip(model, clip.tokenizer, clip.context_length, clip.mean, clip.std)
    image = slice_of(160, 160)
    with torch.no_grad():
        trunk.blocks[-1].norm2.weight.fill_(0.0)[channel] = 1.0
        trunk.blocks[-1].norm2.bias.fill_(0.0)
        kept = []
        hook = trunk.blocks[-1].norm2.register_forward_hook(lambda m, i, o: kept.append(o))
        model.encode_image(known.pixels(image))
        hook.remove()
    expected = kept[0][0, 1:, channel].reshape(10, 10).clamp(min=0)
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    found = known.saliency(image, torch.ones(16) / 4, channels=64, batch_size=64)
    resized = F.interpolate(expected[None, None], size=(160, 160), mode="bilinear")[0, 0]
    np.testing.assert_allclose(found, resized, atol=1e-4)


@pytest.mark.parametrize(
    "fault", ["no weights", "no vocabulary", "cut", "text", "object", "another text", "no vit"]
)
def test_a_folder_of_something_else_is_named(biomedclip_folder, tmp_path, fault):
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
        torch.save(tmp_path, weights)  # a Path, which only unpickling could bring back
    elif fault == "another text":
        shape = (text / "config.json").read_text()
        (text / "config.json").write_text(shape.replace('"hidden_size": 32', '"hidden_size": 16'))
    else:
        network = write_biomedclip(folder, "test_resnet")
        assert not hasattr(network.visual.trunk, "blocks")
    with pytest.raises(InputError, match=r"biomedclip, .*baselines\.weights\.biomedclip"):
        load_biomedclip(folder, text, "cpu")
