"""ReLUs by their other names: a clamp at 0, a maximum with 0."""

from __future__ import annotations

import numbers
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CLAMPS = ("clamp", "clip", "clamp_min", "clamp_max")
MAXIMA = ("maximum", "fmax", "max")


def _named(names: tuple[str, ...], ends: tuple[str, ...]) -> dict[Any, tuple[str, bool]]:
    """Functions and methods of these names -> name, whether it writes into its argument."""
    return {
        getattr(home, name + end): (name, end == "_")
        for home in (torch, Tensor)
        for name in names
        for end in ends
        if hasattr(home, name + end)
    }


_CLAMPS, _MAXIMA = _named(CLAMPS, ("", "_")), _named(MAXIMA, ("",))


def as_relu(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return a call as one of `F.relu` or `F.hardtanh` with the same values where it is one; as it was otherwise.

    A clamp whose lower bound is 0 is a ReLU (with a ceiling, as ReLU6 has). One at another bound keeps a divisor from 0
    or the like, and stays.
    """
    same = func, args, kwargs
    if kwargs.get("out") is not None:
        return same
    if func in _MAXIMA:
        both = (*args, *(kwargs[key] for key in ("input", "other") if key in kwargs))
        if len(both) != 2 or not all(isinstance(one, Tensor) for one in both):
            return same  # max along an axis
        for values, floor in (both, both[::-1]):
            if _is_zero(floor) and values.is_floating_point() and floor.numel() <= values.numel():
                return F.relu, (values,), {}
    if func not in _CLAMPS:
        return same
    name, in_place = _CLAMPS[func]
    order = {"clamp_min": ("min",), "clamp_max": ("max",)}.get(name, ("min", "max"))
    given = dict(zip(("input", *order), args, strict=False)) | kwargs
    values, low, high = given.get("input", given.get("self")), given.get("min"), given.get("max")
    if not values.is_floating_point() or not _is_zero(low) or isinstance(high, Tensor):
        return same
    kept = {"inplace": True} if in_place else {}
    if high is None:
        return F.relu, (values,), kept
    return (F.hardtanh, (values, 0.0, float(high)), kept) if high > 0 else same


def _is_zero(bound: Any) -> bool:
    if isinstance(bound, Tensor):
        return not bound.requires_grad and not bool(bound.any())
    return isinstance(bound, numbers.Real) and bound == 0
