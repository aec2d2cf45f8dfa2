"""Shapes and size of the UNet, and what its bottleneck is."""

import pytest
import torch

from umsam.training.unet import CHANNELS, UNet


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 48), (16, 80)])
def test_shapes(height, width):
    logits, bottleneck = UNet(classes=3).eval()(torch.rand(2, 1, height, width))
    assert logits.shape == (2, 3, height, width)
    assert bottleneck.shape == (2, 256, height // 16, width // 16)


def test_number_of_weights_is_that_of_its_convolutions():
    """Counted by hand from the widths: two convolutions a block, 1x1 before each upsampling."""

    def block(a, b):
        return 9 * a * b + 9 * b * b + 4 * b  # two 3x3 convolutions, two batch normalisations

    widths = (1, *CHANNELS)
    encoder = sum(block(widths[i], widths[i + 1]) for i in range(5))
    decoder = sum(CHANNELS[i + 1] * CHANNELS[i] + CHANNELS[i] + block(2 * CHANNELS[i], CHANNELS[i])
                  for i in range(4))  # fmt: skip
    head = 9 * CHANNELS[0] * 2 + 2
    assert sum(p.numel() for p in UNet().parameters()) == encoder + decoder + head


def test_the_logits_depend_on_the_bottleneck_and_on_every_level():
    """Every parameter gets a gradient from the logits: no level is left unconnected."""
    unet = UNet()
    unet(torch.rand(2, 1, 64, 64))[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in unet.parameters())
