"""What masks cost, with gradients written out: next to a small network, autograd's own bookkeeping would show."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def size_and_variation(mask: Tensor, size: float, variation: float, beta: float) -> Tensor:
    """Return ``size * mean |m| + variation * TV(m)``, differentiable once.

    TV is the mean of |difference of neighbours|^beta per axis, summed over the axes.

    Parameters
    ----------
    mask
        (1, 1, *grid).
    """
    return _SizeAndVariation.apply(mask, size, variation, beta)


class _SizeAndVariation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mask: Tensor, size: float, variation: float, beta: float) -> Tensor:
        count = mask.numel()
        gradient = mask.sign().mul_(size / count)
        value = size * mask.abs().sum() / count
        for axis in range(2, mask.ndim):
            n = mask.shape[axis]
            if n < 2 or variation == 0:
                continue
            before, after = mask.narrow(axis, 0, n - 1), mask.narrow(axis, 1, n - 1)
            step = after - before
            scale = variation / step.numel()
            if beta == 2:
                value = value + scale * step.square().sum()
                slope = step.mul_(2 * scale)
            else:
                value = value + scale * step.abs().pow(beta).sum()
                slope = step.abs().pow_(beta - 1).mul_(step.sign()).mul_(beta * scale)
            gradient.narrow(axis, 1, n - 1).add_(slope)
            gradient.narrow(axis, 0, n - 1).sub_(slope)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream, None, None, None


def mix(baseline: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """Return ``baseline + mask * (image - baseline)``, differentiable once and in the mask alone.

    Parameters
    ----------
    baseline
        (1, channels, 1, ...) or (1, channels, *grid).
    image
        (1, channels, *grid).
    mask
        (n, 1, *grid).
    """
    if not mask.requires_grad:
        return torch.lerp(baseline, image, mask)
    return _Mix.apply(baseline, image, mask)


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, baseline: Tensor, image: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(baseline, image)
        return torch.lerp(baseline, image, mask)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[None, None, Tensor]:
        baseline, image = ctx.saved_tensors
        # One channel after the other: a sum over so short an axis is slow.
        out = upstream[:, :1] * (image[:, :1] - baseline[:, :1])
        for k in range(1, image.shape[1]):
            out.addcmul_(upstream[:, k : k + 1], image[:, k : k + 1] - baseline[:, k : k + 1])
        return None, None, out
