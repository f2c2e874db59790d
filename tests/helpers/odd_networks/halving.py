"""A network that halves."""

from __future__ import annotations

import torch
from helpers.networks import conv
from torch import Tensor, nn


class Halves(nn.Module):
    """A U-Net that goes down by `strides`, one number or one per axis, and joins what it kept."""

    def __init__(self, strides=(2, 2), ndim: int = 2, *, fit: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.fit = fit
        self.down = nn.ModuleList(
            [conv(ndim)(1 if k == 0 else 3, 3, 3, padding=1) for k in range(len(strides))]
        )
        pool = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[ndim]
        self.pools = nn.ModuleList([pool(s, s) for s in strides])
        self.bottom = conv(ndim)(3, 3, 3, padding=1)
        self.ups = nn.ModuleList([nn.Upsample(scale_factor=s) for s in strides])
        self.merge = nn.ModuleList([conv(ndim)(6, 3, 3, padding=1) for _ in strides])
        self.head = conv(ndim)(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for down, pool in zip(self.down, self.pools, strict=True):
            kept.append(down(x).relu())
            x = pool(kept[-1])
        x = self.bottom(x).relu()
        for up, merge, skip in reversed(list(zip(self.ups, self.merge, kept, strict=True))):
            x = nn.functional.interpolate(x, skip.shape[2:]) if self.fit else up(x)
            x = merge(torch.cat([x, skip], 1)).relu()
        return self.head(x)
