"""LinkNet3d, the brain extraction network of deepbet, rewritten as a plain module."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def conv_norm(
    in_channels: int, out_channels: int, width: int, stride: int = 1, bias: bool = False, up: bool = False
) -> OrderedDict[str, nn.Module]:
    """Convolution (transposed to go `up`) and instance normalisation, as named layers."""
    padding = width // 2
    conv: nn.Module
    if up:
        conv = nn.ConvTranspose3d(in_channels, out_channels, width, stride, padding, stride - 1, bias=bias)
    else:
        conv = nn.Conv3d(in_channels, out_channels, width, stride, padding, bias=bias)
    return OrderedDict(conv=conv, norm=nn.InstanceNorm3d(out_channels))


def conv_norm_act(*args: Any, **kwargs: Any) -> nn.Sequential:
    """As `conv_norm`, with a ReLU behind it."""
    return nn.Sequential(OrderedDict(**conv_norm(*args, **kwargs), act=nn.ReLU()))


class Residual(nn.Module):
    """Two convolutions with a shortcut around them."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.first = conv_norm_act(in_channels, out_channels, 3, stride)
        self.second = nn.Sequential(conv_norm(out_channels, out_channels, 3))
        self.shortcut = (
            nn.Sequential(conv_norm(in_channels, out_channels, 1, stride)) if stride > 1 else nn.Identity()
        )
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's map."""
        return self.act(self.second(self.first(x)) + self.shortcut(x))


def encoder(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Two residual blocks, the first of which may halve the size."""
    return nn.Sequential(
        OrderedDict(
            block1=Residual(in_channels, out_channels, stride), block2=Residual(out_channels, out_channels)
        )
    )


def decoder(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Narrow to a quarter of the channels, enlarge, and widen again."""
    narrow = in_channels // 4
    return nn.Sequential(
        OrderedDict(
            reduce=conv_norm_act(in_channels, narrow, 1),
            up=conv_norm_act(narrow, narrow, 3, stride, up=True),
            expand=conv_norm_act(narrow, out_channels, 1),
        )
    )


class LinkNet3d(nn.Module):
    """Encoder and decoder joined by sums, for brain extraction from T1-weighted MRI.

    Notes
    -----
    Input (N, 1, D, H, W) in RAS orientation, every size a multiple of 32; output (N, 2, D, H, W), the logits
    of background and brain. All normalisation is per image, so the images of a batch do not mix.

    The layers are ``stem``, ``encoder1`` (a quarter of the size) to ``encoder4`` (1/32), ``decoder4`` to
    ``decoder1``, ``refine`` (half the size) and ``head``. The output of a decoder is added to that of the
    encoder with the next lower number, that of ``decoder1`` to the stem's.

    Source: network and weights of deepbet 1.0.2 (its ``bbox_model.pt``, stored there as TorchScript with a
    softmax at its end), Fisch et al., Computers in Biology and Medicine 179, 108845, 2024. Copyright 2023
    Medical Machine Learning Lab, University of Münster; MIT licence. See `from_deepbet` for the weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm_act(1, 16, 7, 2)
        self.stem.add_module("pool", nn.MaxPool3d(3, 2, 1))
        self.encoder1 = encoder(16, 16, 1)
        self.encoder2 = encoder(16, 32, 2)
        self.encoder3 = encoder(32, 64, 2)
        self.encoder4 = encoder(64, 128, 2)
        self.decoder4 = decoder(128, 64, 2)
        self.decoder3 = decoder(64, 32, 2)
        self.decoder2 = decoder(32, 16, 2)
        self.decoder1 = decoder(16, 16, 1)
        self.refine = nn.Sequential(
            OrderedDict(
                up=conv_norm_act(16, 8, 3, 2, bias=True, up=True), smooth=conv_norm_act(8, 8, 3, bias=True)
            )
        )
        self.head = nn.ConvTranspose3d(8, 2, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of background and brain."""
        stem = self.stem(x)
        skip1 = self.encoder1(stem)
        skip2 = self.encoder2(skip1)
        skip3 = self.encoder3(skip2)
        x = self.decoder4(self.encoder4(skip3)) + skip3
        x = self.decoder3(x) + skip2
        x = self.decoder2(x) + skip1
        x = self.decoder1(x) + stem
        return self.head(self.refine(x))


RENAMED = (
    (r"^init\.0\.", "stem.conv."),
    (r"^down(\d)\.", lambda found: f"encoder{int(found[1]) + 1}."),
    (r"^up(\d)\.", lambda found: f"decoder{4 - int(found[1])}."),
    (r"\.double_conv\.0\.", ".first.conv."),
    (r"\.double_conv\.3\.", ".second.conv."),
    (r"\.downsample\.0\.", ".shortcut.conv."),
    (r"\.conv1\.0\.", ".reduce.conv."),
    (r"\.tp_conv\.0\.", ".up.conv."),
    (r"\.conv2\.0\.", ".expand.conv."),
    (r"^tp_conv1\.0\.", "refine.up.conv."),
    (r"^conv\.0\.", "refine.smooth.conv."),
    (r"^tp_conv2\.", "head."),
)
"""Patterns in deepbet's names of weights, and what they are called here."""


def from_deepbet(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return deepbet's state dict with the names of `LinkNet3d`."""
    renamed = {}
    for name, value in weights.items():
        for pattern, new in RENAMED:
            name = re.sub(pattern, new, name)
        renamed[name] = value
    return renamed
