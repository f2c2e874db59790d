"""Regularisation of masks, with gradients written out: with a small network, autograd's own bookkeeping would take its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class SizeAndVariation:
    """``size * mean |m| + variation * TV(m)`` and its gradient, for a mask that is changed in place.

    TV is the mean of |difference of neighbours|^beta per axis, summed over the axes.

    Parameters
    ----------
    mask
        (1, 1, *grid), contiguous. What is read of it and written is laid out once.
    """

    def __init__(self, mask: Tensor, size: float, variation: float, beta: float):
        self.mask, self.beta = mask.detach(), beta
        self.price = size / mask.numel()
        self.gradient, self.sign = torch.zeros_like(self.mask), torch.empty_like(self.mask)
        self.axes = []
        for axis in range(2, mask.ndim):
            n = mask.shape[axis] - 1
            if n == 0 or variation == 0:
                continue
            ends = [t.narrow(axis, start, n) for t in (self.mask, self.gradient) for start in (0, 1)]
            slope = torch.empty_like(ends[0], memory_format=torch.contiguous_format)
            self.axes.append((slope, *ends, variation * beta / slope.numel()))

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Return the value and the gradient, which is overwritten by the next call."""
        self.gradient.zero_()
        for slope, low, high, gradient_low, gradient_high, scale in self.axes:
            torch.sub(high, low, out=slope)
            if self.beta != 2:
                sign = slope.sign()
                slope.abs_().pow_(self.beta - 1).mul_(sign)
            gradient_high.add_(slope, alpha=scale)
            gradient_low.sub_(slope, alpha=scale)
        # Both terms are homogeneous, so that their values follow from their gradients (Euler).
        torch.sign(self.mask, out=self.sign)
        flat = self.mask.view(-1)
        value = torch.dot(self.gradient.view(-1), flat).div_(self.beta)
        value.add_(torch.dot(self.sign.view(-1), flat), alpha=self.price)
        return value, self.gradient.add_(self.sign, alpha=self.price)


def sorted_distance(mask: Tensor, wanted: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Return ``weight * mean (sort(m) - wanted)^2`` and its gradient by the mask.

    Parameters
    ----------
    mask
        Of any shape, without gradient.
    wanted
        (cells,), ascending: what the sorted mask should be.
    """
    ordered, order = mask.flatten().sort()
    away = ordered - wanted
    slope = torch.empty_like(away).scatter_(0, order, away)
    share = weight / away.numel()
    return torch.dot(away, away).mul_(share), slope.mul_(2 * share).view_as(mask)


def sum_of_ratios(values: Tensor, rows: Tensor, parts: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """Return ``sum_j weights[j] * a_j / b_j`` for ``(a, b) = (values @ rows.T) @ parts + offsets``, differentiable once.

    Parameters
    ----------
    values
        (n, P); only they get a gradient.
    rows
        (k, P): the sums over P that all else is made of.
    parts, offsets
        (k, 2 J) and (2 J,): all a, then all b.
    weights
        (J,).

    Returns
    -------
    Tensor
        A scalar: the sum over n.
    """
    return _SumOfRatios.apply(values, rows, parts, offsets, weights)


class _SumOfRatios(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, rows: Tensor, parts: Tensor, offsets: Tensor, weights: Tensor
    ) -> Tensor:
        above, below = torch.addmm(offsets, F.linear(values, rows), parts).chunk(2, 1)
        ratios, slopes = above / below, weights / below
        ctx.save_for_backward(torch.cat([slopes, slopes * -ratios], 1) @ parts.T, rows)
        return (ratios @ weights).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None, None]:
        slopes, rows = ctx.saved_tensors
        return (slopes * upstream) @ rows, None, None, None, None


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
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[None, None, Tensor, None]:
        (upstream,), (difference,) = grad_outputs, ctx.saved_tensors
        # One channel after the other: a sum over so short an axis is slow.
        first, *others = zip(upstream.split(1, 1), difference.split(1, 1), strict=True)
        out = torch.mul(*first)
        for pair in others:
            out.addcmul_(*pair)
        return None, None, out, None
