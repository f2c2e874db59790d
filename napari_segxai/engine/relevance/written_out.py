"""Functions that do several things at once, written out in those that have a rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from napari_segxai.engine.relevance.calls import Call, on_path


def _matrix_added(x: Tensor, left: Tensor, right: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    return x * beta + (left @ right) * alpha


def _product_added(x: Tensor, one: Tensor, other: Tensor, *, value: Any = 1) -> Tensor:
    return x + (one * other) * value


def _quotient_added(x: Tensor, above: Tensor, below: Tensor, *, value: Any = 1) -> Tensor:
    return x + (above / below) * value


def _mixed(input: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    return (1 - weight) * input + weight * end


def _cosine(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    sizes = [torch.linalg.vector_norm(x, dim=dim, keepdim=True).clamp(min=eps) for x in (x1, x2)]
    return ((x1 / sizes[0]) * (x2 / sizes[1])).sum(dim)


WRITTEN_OUT: dict[str, Callable[..., Tensor]] = {
    "addmm": _matrix_added,
    "addmv": _matrix_added,
    "baddbmm": _matrix_added,
    "addcmul": _product_added,
    "addcdiv": _quotient_added,
    "lerp": _mixed,
    "cosine_similarity": _cosine,
}
"""By name what returns the same."""


def is_written_out(call: Call) -> bool:
    """Tell whether a call is run as `WRITTEN_OUT` says."""
    if call.name not in WRITTEN_OUT or call.in_place or "out" in call.kwargs:
        return False
    if call.name != "lerp":
        return True
    return on_path(call.kwargs.get("weight", call.args[2] if len(call.args) > 2 else None))
