"""Resampling between grids that cover the same extent."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def resize(tensor: Tensor, shape: tuple[int, ...], *, linear: bool, antialias: bool = False) -> Tensor:
    """Resample (N, C, *spatial) to `shape`; both grids cover the same extent, cell centres between corners."""
    if tuple(tensor.shape[2:]) == tuple(shape):
        return tensor
    if not linear:
        return F.interpolate(tensor, shape, mode="nearest-exact")
    if len(shape) == 2:
        return F.interpolate(tensor, shape, mode="bilinear", align_corners=False, antialias=antialias)
    return F.interpolate(tensor, shape, mode="trilinear", align_corners=False)
