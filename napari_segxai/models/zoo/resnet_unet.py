"""A U-Net with an encoder of the size of ResNet-34, to measure running times with."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_norm(
    in_channels: int, out_channels: int, width: int, stride: int = 1
) -> OrderedDict[str, nn.Module]:
    """Convolution and batch normalisation, as named layers."""
    return OrderedDict(
        conv=nn.Conv2d(in_channels, out_channels, width, stride, width // 2, bias=False),
        norm=nn.BatchNorm2d(out_channels),
    )


def conv_norm_act(in_channels: int, out_channels: int, width: int, stride: int = 1) -> nn.Sequential:
    """As `conv_norm`, with a ReLU behind it."""
    return nn.Sequential(OrderedDict(**conv_norm(in_channels, out_channels, width, stride), act=nn.ReLU()))


class BasicBlock(nn.Module):
    """ResNet's block of two convolutions with a shortcut around them."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.first = conv_norm_act(in_channels, out_channels, 3, stride)
        self.second = nn.Sequential(conv_norm(out_channels, out_channels, 3))
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(conv_norm(in_channels, out_channels, 1, stride))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's map."""
        return self.act(self.second(self.first(x)) + self.shortcut(x))


def encoder(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    """A number of basic blocks, the first of which may halve the size."""
    return nn.Sequential(
        OrderedDict(
            (
                f"block{k + 1}",
                BasicBlock(out_channels if k else in_channels, out_channels, 1 if k else stride),
            )
            for k in range(blocks)
        )
    )


class Decoder(nn.Module):
    """Double the size, join the encoder's map of that size if there is one, and convolve twice."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = conv_norm_act(in_channels + skip_channels, out_channels, 3)
        self.second = conv_norm_act(out_channels, out_channels, 3)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Return the map at twice the size of `x`."""
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return self.second(self.first(x if skip is None else torch.cat([x, skip], dim=1)))


class ResNetUNet(nn.Module):
    """U-Net with an encoder of the size of ResNet-34; 24.4 million parameters, untrained.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the image and of the logits.
    seed
        Seed of the random weights; PyTorch's current one when None. The global seed stays as it is.

    Notes
    -----
    Input (N, in_channels, H, W), H and W multiples of 32; output logits (N, out_channels, H, W). The layers
    are ``stem`` (half the size), ``encoder1`` (1/4) to ``encoder4`` (1/32), ``decoder5`` (1/16) to
    ``decoder1`` (full size) and ``head``.

    Source: encoder after He et al., Deep Residual Learning, CVPR 2016; decoder as is usual, with 256, 128,
    64, 32 and 16 channels. Written for this project and under its licence (BSD-3-Clause). It is there to
    measure running times and memory, not to segment.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 2, seed: int | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            self.stem = conv_norm_act(in_channels, 64, 7, 2)
            self.encoder1 = encoder(64, 64, 3, 1)
            self.encoder2 = encoder(64, 128, 4, 2)
            self.encoder3 = encoder(128, 256, 6, 2)
            self.encoder4 = encoder(256, 512, 3, 2)
            self.decoder5 = Decoder(512, 256, 256)
            self.decoder4 = Decoder(256, 128, 128)
            self.decoder3 = Decoder(128, 64, 64)
            self.decoder2 = Decoder(64, 64, 32)
            self.decoder1 = Decoder(32, 0, 16)
            self.head = nn.Conv2d(16, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the image `x`."""
        half = self.stem(x)
        quarter = self.encoder1(F.max_pool2d(half, 3, 2, 1))
        eighth = self.encoder2(quarter)
        sixteenth = self.encoder3(eighth)
        x = self.decoder5(self.encoder4(sixteenth), sixteenth)
        x = self.decoder4(x, eighth)
        x = self.decoder3(x, quarter)
        x = self.decoder2(x, half)
        return self.head(self.decoder1(x))
