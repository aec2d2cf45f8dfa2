"""The task-specific model: a 2D UNet whose bottleneck has as many channels as SAM's embedding.

Channels, dropout and blocks follow the UNet of PyMIC (https://github.com/HiLab-git/PyMIC) that
UM-CAM (Fu et al., MICCAI 2023) trains. Its bottleneck and SAM's encoder both have 256 channels, so
eq. 7 compares their prototypes without a projection.
"""

import torch
from torch import Tensor, nn

CHANNELS = (16, 32, 64, 128, 256)
DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)
STRIDE = 16  # of the bottleneck; the height and width of an input must be multiples of it


class ConvBlock(nn.Sequential):
    """Two 3x3 convolutions with batch normalisation and LeakyReLU, and dropout between them."""

    def __init__(self, inputs: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(inplace=True),
        )


class UpBlock(nn.Module):
    """Halve the channels, double the size (bilinear), concatenate the encoder's map, convolve."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs, outputs, kernel_size=1)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.block = ConvBlock(2 * outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.block(torch.cat([skip, self.up(self.reduce(x))], dim=1))


class UNet(nn.Module):
    """A 2D UNet that maps grey slices to logits and also returns the bottleneck's features.

    Parameters
    ----------
    classes
        Number of classes, including the background.
    spacing
        Pixel size in mm that the network expects; None for slices at any pixel size.
    """

    def __init__(self, classes: int = 2, spacing: float | None = None) -> None:
        super().__init__()
        self.spacing = spacing
        widths = (1, *CHANNELS)
        self.encoder = nn.ModuleList(
            ConvBlock(widths[i], widths[i + 1], DROPOUT[i]) for i in range(len(CHANNELS))
        )
        self.pool = nn.MaxPool2d(2)
        self.decoder = nn.ModuleList(
            UpBlock(CHANNELS[i + 1], CHANNELS[i]) for i in reversed(range(len(CHANNELS) - 1))
        )
        self.head = nn.Conv2d(CHANNELS[0], classes, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Segment a batch.

        Parameters
        ----------
        x
            Slices [B, 1, H, W] with intensities in [0, 1]; H and W are multiples of 16.

        Returns
        -------
        logits
            [B, classes, H, W].
        bottleneck
            [B, 256, H/16, W/16], the features F of eq. 7.
        """
        maps = []
        for level, block in enumerate(self.encoder):
            x = block(self.pool(x) if level else x)
            maps.append(x)
        bottleneck = maps.pop()
        x = bottleneck
        for block in self.decoder:
            x = block(x, maps.pop())
        return self.head(x), bottleneck
