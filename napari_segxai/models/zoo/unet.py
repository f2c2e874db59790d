"""A small U-Net for images and volumes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
CONV_TRANSPOSE = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
DROPOUT = {2: nn.Dropout2d, 3: nn.Dropout3d}
MAX_POOL = {2: F.max_pool2d, 3: F.max_pool3d}
NORM = {
    ("batch", 2): nn.BatchNorm2d,
    ("batch", 3): nn.BatchNorm3d,
    ("instance", 2): nn.InstanceNorm2d,
    ("instance", 3): nn.InstanceNorm3d,
}


def conv_block(
    in_channels: int, out_channels: int, spatial_dims: int, norm: str, count: int
) -> nn.Sequential:
    """Convolutions of width 3, each followed by a normalisation and a ReLU."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for k in range(1, count + 1):
        channels = in_channels if k == 1 else out_channels
        layers[f"conv{k}"] = CONV[spatial_dims](channels, out_channels, 3, padding=1, bias=False)
        layers[f"norm{k}"] = NORM[norm, spatial_dims](out_channels, affine=True)
        layers[f"act{k}"] = nn.ReLU()
    return nn.Sequential(layers)


class Decoder(nn.Module):
    """One stage of the decoder: double the size, join the encoder's map of that size (if any), convolve."""

    def __init__(
        self, in_channels: int, out_channels: int, spatial_dims: int, norm: str, skip: bool = True
    ) -> None:
        super().__init__()
        self.up = CONV_TRANSPOSE[spatial_dims](in_channels, out_channels, 2, stride=2)
        self.convs = conv_block((1 + skip) * out_channels, out_channels, spatial_dims, norm, 2)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Return the map at twice the size of `x`, which is that of `skip`."""
        x = self.up(x)
        return self.convs(x if skip is None else torch.cat([skip, x], dim=1))


class UNet(nn.Module):
    """U-Net with any number of levels.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the image and of the logits.
    features
        Channels of every level, from the full size to the bottleneck; each level halves the size.
    norm
        Normalisation behind every convolution.
    spatial_dims
        2 for images, 3 for volumes.
    skips
        Whether the decoder sees the encoder's maps; without, all goes through the bottleneck.
    convs
        Convolutions of every level of the encoder and of the bottleneck, as `features`; VGG-16 has 2, 2, 3, 3, 3.
    dropout
        Share of the bottleneck's channels that training sets to 0.

    Notes
    -----
    Input (N, in_channels, *size), output logits (N, out_channels, *size). Every size must be a multiple of
    ``2 ** (len(features) - 1)``, see `multiple`. The layers are ``encoder1``.. (full size first),
    ``bottleneck``, ..``decoder1`` and the 1x1 convolution ``head``.

    Source: after Ronneberger et al., U-Net, MICCAI 2015, with padded convolutions and normalisation. Written
    for this project and under its licence (BSD-3-Clause).
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        features: Sequence[int] = (16, 32, 64, 128),
        norm: Literal["batch", "instance"] = "batch",
        spatial_dims: Literal[2, 3] = 2,
        skips: bool = True,
        convs: Sequence[int] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(features) < 2:
            raise ValueError("a U-Net needs the features of two levels at least")
        convs = (2,) * len(features) if convs is None else convs
        if len(convs) != len(features):
            raise ValueError("a U-Net needs as many counts of convolutions as features")
        self.levels = len(features) - 1
        self.multiple = 2**self.levels
        self.skips = skips
        self._pool = MAX_POOL[spatial_dims]
        channels = in_channels
        for k in range(self.levels):
            self.add_module(
                f"encoder{k + 1}", conv_block(channels, features[k], spatial_dims, norm, convs[k])
            )
            channels = features[k]
        self.bottleneck = conv_block(channels, features[-1], spatial_dims, norm, convs[-1])
        if dropout:
            self.bottleneck.add_module("dropout", DROPOUT[spatial_dims](dropout))
        for k in reversed(range(self.levels)):
            self.add_module(
                f"decoder{k + 1}", Decoder(features[k + 1], features[k], spatial_dims, norm, skips)
            )
        self.head = CONV[spatial_dims](features[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the image or volume `x`."""
        skips = []
        for k in range(1, self.levels + 1):
            x = self.get_submodule(f"encoder{k}")(x)
            skips.append(x)
            x = self._pool(x, 2)
        x = self.bottleneck(x)
        for k in range(self.levels, 0, -1):
            x = self.get_submodule(f"decoder{k}")(x, skips.pop() if self.skips else None)
        return self.head(x)
