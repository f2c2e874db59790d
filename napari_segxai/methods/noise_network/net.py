"""The small network that u-noise trains: from an image to how much noise each pixel can bear."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RANGE = 0.1
"""Deviation of the bilateral filter along the values of B."""


class NoiseNet(nn.Module):
    """A small U-Net: image (N, channels, *grid) -> how much noise each pixel bears, before the sigmoid (N, 1, *grid).

    Any grid will do: it is padded to a multiple of 2^depth and cropped again. Every image is brought to mean 0 and
    deviation 1 first.
    """

    def __init__(self, dims: int, inputs: int, depth: int, channels: int):
        super().__init__()
        self.depth = depth
        self.pool = {2: F.max_pool2d, 3: F.max_pool3d}[dims]
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        widths = [channels * 2**k for k in range(depth + 1)]
        pair = lambda a, b: nn.Sequential(  # noqa: E731
            conv(a, b, 3, padding=1), nn.ReLU(), conv(b, b, 3, padding=1), nn.ReLU()
        )
        self.down = nn.ModuleList(pair(a, b) for a, b in itertools.pairwise([inputs, *widths]))
        self.up = nn.ModuleList(pair(a + b, a) for a, b in itertools.pairwise(widths))
        self.head = conv(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, *grid) -> (N, 1, *grid)."""
        grid, dims = x.shape[2:], tuple(range(2, x.ndim))
        x = (x - x.mean(dims, keepdim=True)) / deviation(x)
        missing = [-n % 2**self.depth for n in grid]
        if any(missing):
            x = F.pad(x, [v for n in reversed(missing) for v in (0, n)], mode="replicate")
        kept: list[Tensor] = []
        for k, block in enumerate(self.down):
            x = block(x if k == 0 else self.pool(x, 2))
            kept.append(x)
        for block, skip in zip(reversed(self.up), reversed(kept[:-1]), strict=True):
            x = block(torch.cat([skip, F.interpolate(x, skip.shape[2:], mode="nearest")], 1))
        return self.head(x)[(..., *(slice(n) for n in grid))]


def deviation(x: Tensor) -> Tensor:
    """Return the standard deviation of each channel: (N, channels, *grid) -> (N, channels, 1, ...)."""
    return x.std(tuple(range(2, x.ndim)), keepdim=True, unbiased=False).clamp(min=1e-6)


def bilateral(values: Tensor, width: float) -> Tensor:
    """Smooth (N, 1, *grid) where neighbours are alike; the weights take no gradient.

    Parameters
    ----------
    width
        Standard deviation in cells; along the values it is 0.1.
    """
    radius, grid = math.ceil(1.5 * width), values.shape[2:]
    padded = F.pad(values, [radius] * 2 * len(grid), mode="replicate")
    fixed = values.detach()
    total, weights = torch.zeros_like(values), torch.zeros_like(values)
    for offset in itertools.product(range(2 * radius + 1), repeat=len(grid)):
        near = padded[(..., *(slice(o, o + n) for o, n in zip(offset, grid, strict=True)))]
        distance = sum((o - radius) ** 2 for o in offset)
        weight = torch.exp(-distance / (2 * width**2) - (near.detach() - fixed).square() / (2 * RANGE**2))
        total, weights = total + weight * near, weights + weight
    return total / weights
