"""Shapes, number of weights and connections of the UNet."""

import pytest
import torch

from umsam.training.unet import CHANNELS, UNet


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 48), (16, 80)])
def test_the_logits_have_the_size_of_the_slice_and_the_bottleneck_a_sixteenth(height, width):
    logits, bottleneck = UNet(classes=3).eval()(torch.rand(2, 1, height, width))
    assert logits.shape == (2, 3, height, width)
    assert bottleneck.shape == (2, 256, height // 16, width // 16)


def test_the_number_of_weights_is_that_of_the_convolutions():
    """A count by hand: two convolutions per block, and a 1x1 convolution per upsampling."""

    def block(a, b):
        return 9 * a * b + 9 * b * b + 4 * b  # two 3x3 convolutions, two batch normalisations

    widths = (1, *CHANNELS)
    encoder = sum(block(widths[i], widths[i + 1]) for i in range(5))
    decoder = sum(CHANNELS[i + 1] * CHANNELS[i] + CHANNELS[i] + block(2 * CHANNELS[i], CHANNELS[i])
                  for i in range(4))  # fmt: skip
    head = 9 * CHANNELS[0] * 2 + 2
    assert sum(p.numel() for p in UNet().parameters()) == encoder + decoder + head


def test_the_logits_depend_on_the_bottleneck_and_on_every_level():
    """Every parameter gets a gradient from the logits, so every level is connected."""
    unet = UNet()
    unet(torch.rand(2, 1, 64, 64))[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in unet.parameters())
