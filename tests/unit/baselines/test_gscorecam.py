"""gScoreCAM against a direct implementation, autograd, and a score that depends on one object."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from umsam.baselines.gscorecam import _tokens_and_gradients, gscorecam


def bilinear(values, size):
    """Bilinear resize of [h, h] to [size, size]; pixel centres lie half a pixel inside."""
    at = ((np.arange(size) + 0.5) * len(values) / size - 0.5).clip(0, len(values) - 1)
    low = np.minimum(at.astype(int), max(len(values) - 2, 0))
    high, part = np.minimum(low + 1, len(values) - 1), at - low
    rows = values[low] * (1 - part)[:, None] + values[high] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, high] * part


def direct_gscorecam(score, maps, importance, image, channels):
    """Channel by channel; maps [D, h, h], importance [D], image [1, 3, S, S]."""
    weights = np.ones(len(maps))  # exp(0) for a channel that is not scored
    for channel in np.argsort(-importance)[:channels]:
        mask = bilinear(maps[channel], image.shape[-1])
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        with torch.no_grad():
            masked = image * torch.from_numpy(mask).to(image.dtype)
            weights[channel] = np.exp(float(score(masked)[0]))
    saliency = np.maximum(0, np.tensordot(weights / weights.sum(), maps, axes=1))
    return (saliency - saliency.min()) / (saliency.max() - saliency.min())


class Toy(nn.Module):
    """Tokens are linear in the patch means; the score is the product of their mean with w."""

    def __init__(self, dimension, side):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.pool = nn.AdaptiveAvgPool2d(side)
        self.embed = torch.randn(3, dimension, generator=generator)
        self.w = torch.randn(dimension, generator=generator)
        self.layer = nn.Identity()

    def forward(self, images):
        patches = self.pool(images).flatten(2).transpose(1, 2) @ self.embed
        tokens = self.layer(torch.cat([patches.mean(dim=1, keepdim=True), patches], dim=1))
        return tokens.mean(dim=1) @ self.w


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("channels", [1, 3, 300])
def test_the_map_equals_the_direct_implementation_for_known_gradients(channels, batch_size):
    toy = Toy(dimension=7, side=4)
    image = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    saliency = gscorecam(toy, toy.layer, 1, image, channels, batch_size)
    maps = (toy.pool(image)[0].flatten(1).T @ toy.embed).T.reshape(7, 4, 4).numpy()
    gradient = toy.w.numpy()  # up to a factor of 1 / 17, the same for all tokens
    expected = direct_gscorecam(toy, maps, gradient, image, channels)
    np.testing.assert_allclose(saliency, expected, atol=1e-4)


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=0).eval().requires_grad_(False)
    text = torch.randn(64)
    return network, lambda images: network(images) @ text


def full_gradients(score, layer, image):
    """Output of the layer and gradient with respect to it, by backpropagation to the image."""
    outputs = []

    def keep(module, inputs, output):
        output.retain_grad()
        outputs.append(output)

    hook = layer.register_forward_hook(keep)
    score(image.clone().requires_grad_()).sum().backward()
    hook.remove()
    return outputs[0].detach(), outputs[0].grad


@pytest.mark.parametrize("name", ["norm1", "norm2"])
def test_gradients_equal_those_of_full_backpropagation(transformer, name):
    network, score = transformer
    layer, image = getattr(network.blocks[-1], name), torch.randn(1, 3, 160, 160)
    tokens, gradients = _tokens_and_gradients(score, layer, image)
    expected_tokens, expected_gradients = full_gradients(score, layer, image)
    torch.testing.assert_close(tokens, expected_tokens)
    torch.testing.assert_close(gradients, expected_gradients)
    assert gradients[0, 0].abs().max() > 0
    # norm2 follows the last attention, after which only the class token is read
    assert bool((gradients[0, 1:] == 0).all()) == (name == "norm2")


def test_the_map_equals_the_direct_implementation_for_a_vision_transformer(transformer):
    network, score = transformer
    layer, image = network.blocks[-1].norm2, torch.randn(1, 3, 160, 160)
    tokens, gradients = full_gradients(score, layer, image)
    maps = tokens[0, 1:].T.reshape(64, 10, 10).numpy()
    expected = direct_gscorecam(score, maps, gradients[0, 0].numpy(), image, 20)
    np.testing.assert_allclose(gscorecam(score, layer, 1, image, 20, 8), expected, atol=1e-4)


class Blobs(nn.Module):
    """Has one channel for each of five blobs; the score is the visible part of one blob."""

    def __init__(self, blob):
        super().__init__()
        self.layer, self.blob = nn.Identity(), blob

    def forward(self, images):
        maps = nn.functional.avg_pool2d(images[:, :1] * blobs(), 4).flatten(2)  # [B, 1, 25 * 36]
        maps = maps.reshape(len(images), 5, 36)
        tokens = torch.cat([maps.mean(dim=2)[:, None], maps.transpose(1, 2)], dim=1)
        return 600 * self.layer(tokens)[:, 0, self.blob]


def blobs():
    """Five discs of 5 x 5 pixels in images of 24 x 24: [1, 5, 24, 24]."""
    y, x = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    centres = [(4, 4), (4, 19), (12, 12), (19, 4), (19, 19)]
    return torch.stack([((y - a) ** 2 + (x - b) ** 2 <= 8).float() for a, b in centres])[None]


@pytest.mark.parametrize("blob", range(5))
def test_the_map_highlights_the_object_that_the_score_depends_on(blob):
    image = blobs().sum(dim=1, keepdim=True).expand(1, 3, 24, 24)
    network = Blobs(blob)
    saliency = gscorecam(network, network.layer, 1, image, 5, 2)
    coverage = nn.functional.avg_pool2d(blobs()[:, blob], 4)[0]
    assert saliency[coverage > 0.5].min() > 0.5
    assert saliency[coverage == 0].max() < 0.05


def test_a_constant_map_is_zero():
    toy = Toy(dimension=4, side=2)
    assert (gscorecam(toy, toy.layer, 1, torch.ones(1, 3, 8, 8), 2, 2) == 0).all()
