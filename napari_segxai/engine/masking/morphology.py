"""Dilation of masks on the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def ball(radius: int, ndim: int) -> Tensor:
    """Return a disk or ball of a radius in cells as a boolean footprint of width 2 radius + 1."""
    axis = torch.arange(-radius, radius + 1)
    squares = [g.square() for g in torch.meshgrid(*[axis] * ndim, indexing="ij")]
    return torch.stack(squares).sum(0) <= radius**2


def dilate(mask: Tensor, footprint: Tensor) -> Tensor:
    """Dilate a boolean mask (*grid) by a symmetric footprint."""
    convolve = {2: F.conv2d, 3: F.conv3d}[mask.ndim]
    weight = footprint[None, None].to(torch.float32)
    out = convolve(mask[None, None].to(torch.float32), weight, padding=[n // 2 for n in footprint.shape])
    return out[0, 0] > 0.5
