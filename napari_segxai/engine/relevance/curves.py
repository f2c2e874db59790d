"""Functions of each value for itself: a chord from their value at 0."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from napari_segxai.engine.relevance.calls import Call
from napari_segxai.engine.relevance.functions import Books, chord


def curve(call: Call, books: Books) -> Any:
    """Run a function of one tensor that is finite at 0: G_in = G (f(x) - f(0)) / x, and f(0) rests on biases."""
    x = call.inputs[0]
    with torch.no_grad():
        before = x.detach().clone() if call.in_place else x.detach()
        plain = lambda one: call.with_inputs(lambda _: one).run()  # noqa: E731
        at_zero = plain(torch.zeros_like(x[(slice(0, 1),) * x.ndim]))
        value = plain(before.clone() if call.in_place else before)
        lifted = bool(at_zero.any())
        small = before.abs() < 1e-3 if lifted else before == 0
        slope = (value - at_zero if lifted else value) / before
    if lifted and bool(small.any()):
        with torch.enable_grad():
            leaf = before.clone().requires_grad_()
            bent = plain(leaf.clone() if call.in_place else leaf)
            (tangent,) = torch.autograd.grad(bent.sum(), leaf)
        slope = torch.where(small, tangent, slope)
    elif not lifted:
        slope.masked_fill_(small, 0.0)
    rest = value - slope * before if lifted else None
    source = x.clone() if call.in_place else x
    out = chord(source, value, slope, rest, books)
    return x.copy_(out) if call.in_place else out


def is_of_each_value(call: Call) -> bool:
    """Find out whether a function of one tensor treats every value by itself and alike, and is finite at 0.

    It is tried: half of the values are hidden, in turn, which must leave the results of the others as they are; then all
    lie in another order.
    """
    if call.in_place or len(call.inputs) != 1 or not call.inputs[0].is_floating_point():
        return False
    x = call.inputs[0].detach()
    many = x.numel()
    if many < FEWEST:
        return False
    order = torch.randperm(many, generator=torch.Generator().manual_seed(0)).to(x.device)
    hidden = (order < many // 2).view(x.shape)

    def made_of(values: Tensor) -> Any:
        return call.with_inputs(lambda _: values).run()

    try:
        with torch.no_grad():
            value = made_of(x.clone())
            if not isinstance(value, Tensor) or value.shape != x.shape or value.dtype != x.dtype:
                return False
            at_zero = made_of(torch.zeros_like(x))
            if not bool(at_zero.isfinite().all()) or not bool((at_zero == at_zero.flatten()[0]).all()):
                return False
            for half in (hidden, ~hidden):
                if not _same(made_of(x.masked_fill(half, 0.0))[~half], value[~half]):
                    return False
            one = made_of(torch.zeros_like(x[(slice(0, 1),) * x.ndim]))
            if not _same(one.flatten(), at_zero.flatten()[:1]):
                return False
            return _same(made_of(x.flatten()[order].view(x.shape)), value.flatten()[order].view(x.shape))
    except RuntimeError:  # it cannot be tried with these
        return False


FEWEST = 16
"""Of so few values nothing can be told by trying."""


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-5, atol=1e-7)
