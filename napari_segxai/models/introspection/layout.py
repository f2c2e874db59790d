"""Where the cells of a network layer lie: feature maps, channels last, tokens, tokens in windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

EXTRA_TOKENS = (0, 1, 2, 5)
"""Tokens before those of the image: none, a class token, that and a distillation token, that and four registers."""


@dataclass(frozen=True)
class Layout:
    """How the output of a network layer is read as (N, channels, *cells).

    Attributes
    ----------
    kind
        "maps" (N, channels, *cells), "last" (N, *cells, channels), "tokens" (N, extra + cells, channels), or
        "windows" (N x windows, cells of a window, channels).
    cells
        Cells per axis.
    extra
        Tokens before those of the image.
    window
        Cells per axis of a window.
    """

    kind: Literal["maps", "last", "tokens", "windows"]
    cells: tuple[int, ...]
    extra: int = 0
    window: int = 0

    def to_maps(self, tensor: Tensor) -> Tensor:
        """Return (N, channels, *cells), in float32 whatever the network computes in."""
        tensor = tensor.float()
        if self.kind == "maps":
            return tensor
        if self.kind == "last":
            return tensor.movedim(-1, 1)
        if self.kind == "tokens":
            return tensor[:, self.extra :].unflatten(1, self.cells).movedim(-1, 1)
        d, w = len(self.cells), self.window
        counts = [n // w for n in self.cells]
        parts = tensor.unflatten(0, (-1, *counts)).unflatten(1 + d, (w,) * d)
        order = [0, *(axis for k in range(d) for axis in (1 + k, 1 + d + k)), 1 + 2 * d]
        whole = parts.permute(order).reshape(len(parts), *self.cells, tensor.shape[-1])
        return whole.movedim(-1, 1)

    def from_maps(self, maps: Tensor, like: Tensor) -> Tensor:
        """Bring maps (N, channels, *cells) to the form that the layer returns; type and extra tokens are those of `like`."""
        maps = maps.to(like.dtype)
        if self.kind == "maps":
            return maps
        last = maps.movedim(1, -1)
        if self.kind == "last":
            return last.contiguous()
        if self.kind == "tokens":
            extra = like[:1, : self.extra].expand(len(maps), -1, -1)
            return torch.cat([extra, last.flatten(1, -2)], 1)
        d, w = len(self.cells), self.window
        for k, n in enumerate(self.cells):
            last = last.unflatten(1 + 2 * k, (n // w, w))
        order = [0, *(1 + 2 * k for k in range(d)), *(2 + 2 * k for k in range(d)), 1 + 2 * d]
        return last.permute(order).reshape(-1, w**d, maps.shape[1])


def infer_layout(shape: Sequence[int], grid: Sequence[int], stride: int | None = None) -> Layout | None:
    """Tell how a layer's output lies on the model grid; None where that cannot be told.

    Parameters
    ----------
    shape
        Shape of the output for a single image.
    grid
        Shape of the model grid.
    stride
        Cells of the model grid per token and axis, as the model card declares it.
    """
    d = len(grid)
    if len(shape) == d + 2:
        if shape[0] != 1:  # windows or frames folded into the batch: the place of a value cannot be told
            return None
        first, last = tuple(shape[2:]), tuple(shape[1:-1])
        channels_last = not is_even(first, grid) and is_even(last, grid)
        return Layout("last", last) if channels_last else Layout("maps", first)
    if len(shape) != 3:
        return None
    strides = [stride] if stride else range(1, max(grid) + 1)
    for s in strides:
        cells = tuple(-(-n // s) for n in grid)
        count, extra = math.prod(cells), shape[1] - math.prod(cells)
        if shape[0] == 1 and count > 1 and (extra in EXTRA_TOKENS or (stride and extra >= 0)):
            return Layout("tokens", cells, extra=extra)
        side = round(shape[1] ** (1 / d))
        windowed = side > 1 and side**d == shape[1] and all(n % side == 0 for n in cells)
        if windowed and shape[0] > 1 and count == shape[0] * shape[1]:
            return Layout("windows", cells, window=side)
    return None


def is_even(cells: Sequence[int], grid: Sequence[int]) -> bool:
    """Tell whether `cells` is the grid in equal strides on every axis."""
    strides = {max(1, round(n / m)) if m else 0 for m, n in zip(cells, grid, strict=True)}
    return any(all(m in (n // s, -(-n // s)) for m, n in zip(cells, grid, strict=True)) for s in strides if s)
