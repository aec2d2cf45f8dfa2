"""gScoreCAM against its definition written out, against autograd, and with a score that knows."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from umsam.baselines.gscorecam import _tokens_and_gradients, gscorecam


def bilinear(values, size):
    """[h, h] to [size, size], pixel centres half a pixel inside, edges repeated."""
    at = ((np.arange(size) + 0.5) * len(values) / size - 0.5).clip(0, len(values) - 1)
    low = np.minimum(at.astype(int), max(len(values) - 2, 0))
    high, part = np.minimum(low + 1, len(values) - 1), at - low
    rows = values[low] * (1 - part)[:, None] + values[high] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, high] * part


def written_out(score, maps, importance, image, channels):
    """The method channel by channel. maps [D, h, h], importance [D], image [1, 3, S, S]."""
    weights = np.ones(len(maps))  # exp(0) for a channel that is not scored
    for channel in np.argsort(-importance)[:channels]:
        mask = bilinear(maps[channel], image.shape[-1])
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        with torch.no_grad():
            masked = image * torch.from_numpy(mask).to(image.dtype)
            weights[channel] = np.exp(float(score(masked)[0]))
    found = np.maximum(0, np.tensordot(weights / weights.sum(), maps, axes=1))
    return (found - found.min()) / (found.max() - found.min())


class Toy(nn.Module):
    """Tokens are linear in the means of the patches; the score is the tokens' mean times w."""

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
def test_the_definition_with_gradients_known_by_hand(channels, batch_size):
    toy = Toy(dimension=7, side=4)
    image = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    found = gscorecam(toy, toy.layer, 1, image, channels, batch_size)
    maps = (toy.pool(image)[0].flatten(1).T @ toy.embed).T.reshape(7, 4, 4).numpy()
    expected = written_out(toy, maps, toy.w.numpy(), image, channels)  # gradient: w / 17 everywhere
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=0).eval().requires_grad_(False)
    text = torch.randn(64)
    return network, lambda images: network(images) @ text


def whole_graph(score, layer, image):
    """Output of the layer and the gradient with respect to it, through the whole network."""
    kept = []

    def keep(module, inputs, output):
        output.retain_grad()
        kept.append(output)

    hook = layer.register_forward_hook(keep)
    score(image.clone().requires_grad_()).sum().backward()
    hook.remove()
    return kept[0].detach(), kept[0].grad


@pytest.mark.parametrize("name", ["norm1", "norm2"])
def test_gradients_are_those_of_the_whole_network(transformer, name):
    network, score = transformer
    layer, image = getattr(network.blocks[-1], name), torch.randn(1, 3, 160, 160)
    tokens, gradients = _tokens_and_gradients(score, layer, image)
    for found, expected in zip((tokens, gradients), whole_graph(score, layer, image), strict=True):
        torch.testing.assert_close(found, expected)
    assert gradients[0, 0].abs().max() > 0
    # Only the class token is read after the last attention, which norm2 follows.
    assert bool((gradients[0, 1:] == 0).all()) == (name == "norm2")


def test_the_definition_on_a_vision_transformer(transformer):
    network, score = transformer
    layer, image = network.blocks[-1].norm2, torch.randn(1, 3, 160, 160)
    tokens, gradients = whole_graph(score, layer, image)
    maps = tokens[0, 1:].T.reshape(64, 10, 10).numpy()
    expected = written_out(score, maps, gradients[0, 0].numpy(), image, 20)
    np.testing.assert_allclose(gscorecam(score, layer, 1, image, 20, 8), expected, atol=1e-4)


class Blobs(nn.Module):
    """Sees five blobs, a channel each, wherever they are, and scores what is left of one."""

    def __init__(self, wanted):
        super().__init__()
        self.layer, self.wanted = nn.Identity(), wanted

    def forward(self, images):
        maps = nn.functional.avg_pool2d(images[:, :1] * blobs(), 4).flatten(2)  # [B, 1, 25 * 36]
        maps = maps.reshape(len(images), 5, 36)
        tokens = torch.cat([maps.mean(dim=2)[:, None], maps.transpose(1, 2)], dim=1)
        return 600 * self.layer(tokens)[:, 0, self.wanted]


def blobs():
    """Discs of 5 x 5 pixels in an image of 24 x 24: [1, 5, 24, 24]."""
    y, x = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    centres = [(4, 4), (4, 19), (12, 12), (19, 4), (19, 19)]
    return torch.stack([((y - a) ** 2 + (x - b) ** 2 <= 8).float() for a, b in centres])[None]


@pytest.mark.parametrize("wanted", range(5))
def test_a_score_that_knows_the_object_leads_to_it(wanted):
    image = blobs().sum(dim=1, keepdim=True).expand(1, 3, 24, 24)
    network = Blobs(wanted)
    found = gscorecam(network, network.layer, 1, image, 5, 2)
    own = nn.functional.avg_pool2d(blobs()[:, wanted], 4)[0]
    assert found[own > 0.5].min() > 0.5
    assert found[own == 0].max() < 0.05


def test_a_map_without_contrast_is_empty():
    toy = Toy(dimension=4, side=2)
    assert (gscorecam(toy, toy.layer, 1, torch.ones(1, 3, 8, 8), 2, 2) == 0).all()
