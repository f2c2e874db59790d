"""Backward rules of single tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from napari_segxai.engine.relevance.ledger import Ledger

Books = Callable[[], Ledger]
"""-> the ledger of the pass that runs."""


def same_relevance(x: Tensor, value: Tensor) -> Tensor:
    """Return `value`, whose R becomes that of x as it is."""
    return _SameRelevance.apply(x, [value])


def to_relevance(x: Tensor) -> Tensor:
    """Return x, behind which G is carried and before which R."""
    return _ToRelevance.apply(x)


def chord(x: Tensor, value: Tensor, slope: Tensor, rest: Tensor | None, books: Books) -> Tensor:
    """Return `value` = slope x + rest, of which the rest is booked on biases."""
    return _Chord.apply(x, [value], slope, rest, books)


def part(x: Tensor, parts: int) -> Tensor:
    """Return x, of whose relevance one of `parts` equal parts goes back."""
    return _Part.apply(x, parts)


def overwritable(value: Tensor) -> Tensor:
    """Return what a network may go on to overwrite: a copy of a view, such as an instance normalisation returns."""
    return value.clone() if value._is_view() else value


class _SameRelevance(torch.autograd.Function):
    """Another value, the same relevance."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: list[Tensor]) -> Tensor:
        return overwritable(value[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        (r,) = gradients
        return r, None


class _ToRelevance(torch.autograd.Function):
    """From G behind it to R before it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x.clone())  # a network may overwrite its input
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        (g,) = gradients
        return ctx.saved_tensors[0] * g


class _Chord(torch.autograd.Function):
    """y = slope x + rest, of which the rest is booked on biases."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        value: list[Tensor],
        slope: Tensor,
        rest: Tensor | None,
        books: Callable[[], Ledger],
    ) -> Tensor:
        ctx.slope, ctx.rest, ctx.books = slope, rest, books
        return overwritable(value[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        (g,) = gradients
        if ctx.rest is not None:
            ctx.books().biases.add(ctx.rest * g)
        return g * ctx.slope, None, None, None, None


class _Part(torch.autograd.Function):
    """The same tensor, of whose relevance one of `parts` equal parts goes back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, parts: int) -> Tensor:
        ctx.parts = parts
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        (g,) = gradients
        return g / ctx.parts, None
