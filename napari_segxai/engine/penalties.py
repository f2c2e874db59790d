"""What masks cost, with gradients written out: next to a small network, autograd's own bookkeeping would show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def size_and_variation(mask: Tensor, size: float, variation: float, beta: float) -> tuple[Tensor, Tensor]:
    """Return ``size * mean |m| + variation * TV(m)`` and its gradient.

    TV is the mean of |difference of neighbours|^beta per axis, summed over the axes.

    Parameters
    ----------
    mask
        (1, 1, *grid), without a graph.
    """
    gradient = torch.zeros_like(mask)
    for axis in range(2, mask.ndim):
        n = mask.shape[axis]
        if n < 2 or variation == 0:
            continue
        slope = mask.narrow(axis, 1, n - 1) - mask.narrow(axis, 0, n - 1)
        scale = variation * beta / slope.numel()
        if beta != 2:
            slope = slope.abs().pow_(beta - 1).mul_(slope.sign())
        gradient.narrow(axis, 1, n - 1).add_(slope, alpha=scale)
        gradient.narrow(axis, 0, n - 1).sub_(slope, alpha=scale)
    # Both terms are homogeneous, so that their values follow from their gradients (Euler).
    flat, sign = mask.reshape(-1), mask.sign()
    value = torch.dot(gradient.view(-1), flat) / beta
    price = size / mask.numel()
    value.add_(torch.dot(sign.view(-1), flat), alpha=price)
    return value, gradient.add_(sign, alpha=price)


def sum_of_ratios(values: Tensor, rows: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """Return ``sum_j weights[j] * (a_j . v + offsets[j]) / (b_j . v + offsets[J + j])``, differentiable once.

    Parameters
    ----------
    values
        (n, P); only they get a gradient.
    rows
        (2 J, P): all a, then all b.
    offsets, weights
        (2 J,) and (J,).

    Returns
    -------
    Tensor
        (n,)
    """
    return _SumOfRatios.apply(values, rows, offsets, weights)


class _SumOfRatios(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        above, below = F.linear(values, rows, offsets).chunk(2, 1)
        ratios, slopes = above / below, weights / below
        ctx.save_for_backward(torch.cat([slopes, slopes * -ratios], 1), rows)
        return ratios @ weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        slopes, rows = ctx.saved_tensors
        return (slopes * upstream[:, None]) @ rows, None, None, None


def mix(baseline: Tensor, image: Tensor, mask: Tensor, difference: Callable[[], Tensor]) -> Tensor:
    """Return ``baseline + mask * (image - baseline)``, differentiable once and in the mask alone.

    Parameters
    ----------
    baseline
        (1, channels, 1, ...) or (1, channels, *grid).
    image
        (1, channels, *grid).
    mask
        (n, 1, *grid).
    difference
        Returns image - baseline, (1, channels, *grid), which does not change from mask to mask; asked for only where a
        gradient needs it.
    """
    if not mask.requires_grad or image.shape[1] == 1:
        return torch.lerp(
            baseline, image, mask
        )  # whose own gradient is slow only where it sums over channels
    return _Mix.apply(baseline, image, mask, difference())


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, baseline: Tensor, image: Tensor, mask: Tensor, difference: Tensor) -> Tensor:
        ctx.save_for_backward(difference)
        return torch.lerp(baseline, image, mask)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[None, None, Tensor, None]:
        (difference,) = ctx.saved_tensors
        # One channel after the other: a sum over so short an axis is slow.
        out = upstream[:, :1] * difference[:, :1]
        for k in range(1, difference.shape[1]):
            out.addcmul_(upstream[:, k : k + 1], difference[:, k : k + 1])
        return None, None, out, None
