"""The person segmentation network of MediaPipe's selfie segmentation, written by hand as a plain module."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's padding "SAME": what is odd in the padding goes to the end of an axis."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of the padded `input`."""
        padding = []
        for axis in (-1, -2):
            size, width, stride = input.shape[axis], self.kernel_size[axis], self.stride[axis]
            total = max((-(-size // stride) - 1) * stride + width - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(input, padding) if any(padding) else input)


def mean(x: Tensor) -> Tensor:
    """Return the mean of every channel, as a map of one pixel."""
    return x.mean(dim=(-2, -1), keepdim=True)


class Gate(nn.Module):
    """Weights of the channels between 0 and 1, from the channels' means."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.act = nn.ReLU()
        self.excite = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weights, (N, channels, 1, 1)."""
        return torch.sigmoid(self.excite(self.act(self.squeeze(mean(x)))))


class InvertedResidual(nn.Module):
    """MobileNetV3's block: widen, convolve every channel for itself, weight the channels, narrow.

    Parameters
    ----------
    in_channels, hidden, out_channels
        Channels before, in and behind the block.
    width, stride
        Of the convolution in the block.
    act
        What follows the first two convolutions.
    gate
        Hidden channels of the `Gate`; none if 0.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        width: int,
        stride: int = 1,
        act: type[nn.Module] = nn.Hardswish,
        gate: int = 0,
    ) -> None:
        super().__init__()
        self.expand = nn.Sequential(OrderedDict(conv=nn.Conv2d(in_channels, hidden, 1), act=act()))
        self.depthwise = nn.Sequential(
            OrderedDict(conv=SameConv2d(hidden, hidden, width, stride, groups=hidden), act=act())
        )
        self.gate = Gate(hidden, gate) if gate else None
        self.project = nn.Conv2d(hidden, out_channels, 1)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's map."""
        y = self.depthwise(self.expand(x))
        if self.gate is not None:
            y = y * self.gate(y)
        y = self.project(y)
        return y + x if self.residual else y


class Context(nn.Module):
    """Head of "lite reduced atrous spatial pyramid pooling": a map, weighted by the whole image's content."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.local = nn.Sequential(OrderedDict(conv=nn.Conv2d(in_channels, out_channels, 1), act=nn.ReLU()))
        self.whole = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted map."""
        return self.local(x) * torch.sigmoid(self.whole(mean(x)))


class Decoder(nn.Module):
    """Double the size, add the encoder's map weighted by a gate, and smooth the sum."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, out_channels, 1)
        self.gate = Gate(out_channels, out_channels)
        self.mix = nn.Sequential(OrderedDict(conv=nn.Conv2d(out_channels, out_channels, 1), act=nn.ReLU()))
        self.depthwise = nn.Sequential(
            OrderedDict(conv=SameConv2d(out_channels, out_channels, 3, groups=out_channels), act=nn.ReLU())
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return the map at the size of `skip`."""
        x = self.reduce(F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False))
        x = self.mix(skip * self.gate(skip + x) + x)
        return x + self.depthwise(x)


class SelfieSegmenter(nn.Module):
    """Segments people in colour images: a MobileNetV3-like encoder, global context, and gated skips.

    Notes
    -----
    Input (N, 3, 256, 256), red, green and blue between 0 and 1; output (N, 1, 256, 256), the logit of
    "person", on which the original has a sigmoid. Other multiples of 16 work, but were not trained for.

    The layers are ``stem`` (half the size), ``encoder1`` (1/4), ``encoder2`` and ``encoder3`` (1/8),
    ``encoder4`` to ``encoder8`` (1/16), ``context``, ``decoder3`` (1/8) to ``decoder1`` (1/2) and ``head``.
    Modules are registered in the order in which they run, which is also that of the original's graph.

    Source: network and weights of ``selfie_segmentation.tflite`` in MediaPipe's selfie segmentation
    0.1.1675465747, Copyright The MediaPipe Authors (Google LLC); Apache-2.0 licence. This is a translation
    of it to PyTorch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(OrderedDict(conv=SameConv2d(3, 16, 3, 2), act=nn.Hardswish()))
        self.encoder1 = InvertedResidual(16, 16, 16, 3, 2, nn.ReLU, gate=8)
        self.encoder2 = InvertedResidual(16, 72, 24, 3, 2, nn.ReLU)
        self.encoder3 = InvertedResidual(24, 88, 24, 3, 1, nn.ReLU)
        self.encoder4 = InvertedResidual(24, 96, 32, 5, 2, gate=24)
        self.encoder5 = InvertedResidual(32, 128, 32, 5, gate=32)
        self.encoder6 = InvertedResidual(32, 128, 32, 5, gate=32)
        self.encoder7 = InvertedResidual(32, 96, 32, 5, gate=24)
        self.encoder8 = InvertedResidual(32, 96, 32, 5, gate=24)
        self.context = Context(32, 128)
        self.decoder3 = Decoder(128, 24)
        self.decoder2 = Decoder(24, 16)
        self.decoder1 = Decoder(16, 16)
        self.head = nn.ConvTranspose2d(16, 1, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logit of "person"."""
        half = self.stem(x)
        quarter = self.encoder1(half)
        eighth = self.encoder3(self.encoder2(quarter))
        x = eighth
        for block in (self.encoder4, self.encoder5, self.encoder6, self.encoder7, self.encoder8):
            x = block(x)
        x = self.decoder3(self.context(x), eighth)
        x = self.decoder2(x, quarter)
        x = self.decoder1(x, half)
        return self.head(x)
