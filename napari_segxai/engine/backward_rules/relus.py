"""ReLUs by their other names: a clamp at 0, a maximum with 0, a product with a comparison, a choice by one."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

CLAMPS = ("clamp", "clip", "clamp_min", "clamp_max")
MAXIMA = ("maximum", "fmax", "max")
ABOVE, BELOW = ("gt", "ge"), ("lt", "le")
CHOICES = ("heaviside", "max", "maximum", "min", "minimum", "sign", "where")
"""Other functions with which activation functions are written."""

SAME_TRUTH = ("bool", "clone", "detach", "double", "float", "half", "to", "type", "type_as")
Call = tuple[Any, tuple[Any, ...], dict[str, Any]]
"""Function, arguments, arguments by name."""


def _named(names: tuple[str, ...], ends: tuple[str, ...]) -> dict[Any, tuple[str, bool]]:
    """Return functions and methods of these names: function -> name, whether it writes into its argument."""
    return {
        getattr(home, name + end): (name, end == "_")
        for home in (torch, Tensor)
        for name in names
        for end in ends
        if hasattr(home, name + end)
    }


_CLAMPS, _MAXIMA = _named(CLAMPS, ("", "_")), _named(MAXIMA, ("",))


@dataclass(eq=False)
class _Known:
    """What a tensor was made of: whether `of` is above 0 ("mask"; below with factor -1), `factor` times it ("scaled"), or
    its absolute value ("size"). It counts as long as `of` has not been written into.
    """

    kind: str
    of: Tensor
    version: int
    factor: float = 1.0
    comparison: list[str] | None = None


class Spelling:
    """Recognises ReLUs and leaky ReLUs that are written with other operations, in one forward pass or several.

    Recognised are a clamp at 0, a maximum with 0, x (x > 0), a choice or a filling by x > 0 between x and 0 or between x and
    a x, the maximum of x and a x, and x + |x|.
    """

    def __init__(self) -> None:
        self._known = WeakTensorKeyDictionary()
        self._unread: list[list[str]] = []

    @property
    def comparisons(self) -> set[str]:
        """Names of the comparisons and choices, among values with a gradient, that were not recognised."""
        return {name for found in self._unread for name in found}

    def read(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Return a call as one of `F.relu`, `F.leaky_relu` or `F.hardtanh` with the same values where it is one; as it was
        otherwise.

        A clamp whose lower bound is 0 is a ReLU (with a ceiling, as ReLU6 has). One at another bound keeps a divisor from 0
        or the like, and stays.
        """
        if kwargs.get("out") is not None:
            return func, args, kwargs
        name = getattr(func, "__name__", "").strip("_")
        found = _from_clamp(func, args, kwargs) or self._from_parts(name, func, args, kwargs)
        if found is not None:
            return found
        tensors = [one for one in args if isinstance(one, Tensor)]
        along_an_axis = name in ("max", "min") and len(tensors) < 2
        if name in CHOICES and not along_an_axis and any(one.requires_grad for one in tensors):
            self._unread.append([name])
        return func, args, kwargs

    def note(self, func: Any, args: tuple[Any, ...], out: Any) -> None:
        """Remember the result of a call that may be part of an activation function."""
        name = getattr(func, "__name__", "").strip("_")
        first = args[0] if args else None
        if not isinstance(out, Tensor) or not isinstance(first, Tensor) or _in_place(func):
            return
        if name in SAME_TRUTH and self._what(first, "mask"):
            self._known[out] = self._known[first]
        elif name in ("logical_not", "bitwise_not", "invert") and self._what(first, "mask"):
            known = self._known[first]
            self._known[out] = _Known("mask", known.of, known.version, -known.factor, known.comparison)
        elif not first.requires_grad:  # what does not depend on where a gradient begins
            return
        elif name in ABOVE + BELOW and len(args) > 1:
            comparison = [name]
            self._unread.append(comparison)
            if _is_zero(args[1]):
                self._known[out] = _Known(
                    "mask", first, first._version, 1.0 if name in ABOVE else -1.0, comparison
                )
        elif name in ("mul", "rmul", "multiply") and len(args) > 1 and isinstance(args[1], numbers.Real):
            self._known[out] = _Known("scaled", first, first._version, float(args[1]))
        elif name in ("abs", "absolute"):
            self._known[out] = _Known("size", first, first._version)

    def _what(self, tensor: Any, kind: str) -> _Known | None:
        known = self._known.get(tensor) if isinstance(tensor, Tensor) else None
        fits = known is not None and known.kind == kind and known.of._version == known.version
        return known if fits else None

    def _from_parts(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        in_place = _in_place(func)
        if name in ("mul", "rmul", "multiply") and len(args) == 2:
            for values, factor in (args, args[::-1]):
                mask = self._what(factor, "mask")
                if (
                    mask is not None
                    and mask.of is values
                    and mask.factor > 0
                    and not (in_place and args[0] is factor)
                ):
                    return _seen(mask, F.relu, values, inplace=in_place)
        elif name in ("add", "radd") and len(args) == 2 and not kwargs and not in_place:
            for values, size in (args, args[::-1]):
                known = self._what(size, "size")
                if known is not None and known.of is values:
                    return F.relu, (2 * values,), {}
        elif name == "where" and len(args) == 3:
            condition, above, below = args
            if (
                isinstance(above, Tensor) and above.dtype == torch.bool
            ):  # as a method of what is chosen above 0
                condition, above = above, condition
            mask = self._what(condition, "mask")
            if mask is not None:
                return self._between(mask, *((above, below) if mask.factor > 0 else (below, above)))
        elif name == "masked_fill" and len(args) == 3 and _is_zero(args[2]):
            mask = self._what(args[1], "mask")
            if mask is not None and mask.of is args[0] and mask.factor < 0:
                return _seen(mask, F.relu, args[0], inplace=in_place)
        elif func in _MAXIMA and len(args) == 2:
            for values, other in (args, args[::-1]):
                known = self._what(other, "scaled")
                if known is not None and known.of is values and 0 <= known.factor < 1:
                    return F.leaky_relu, (values, known.factor), {}
        return None

    def _between(self, mask: _Known, above: Any, below: Any) -> Call | None:
        """Return a choice between two values by a comparison with 0 as a ReLU or leaky ReLU; None where it is neither."""
        if above is not mask.of:
            return None
        if _is_zero(below):
            return _seen(mask, F.relu, above)
        scaled = self._what(below, "scaled")
        if scaled is None or scaled.of is not above or not 0 <= scaled.factor < 1:
            return None
        return (
            _seen(mask, F.leaky_relu, above, scaled.factor) if scaled.factor else _seen(mask, F.relu, above)
        )


def _in_place(func: Any) -> bool:
    name = getattr(func, "__name__", "")
    return name.endswith("_") and not name.endswith("__")


def _seen(mask: _Known, function: Any, *args: Any, **kwargs: Any) -> Call:
    if mask.comparison is not None:
        mask.comparison.clear()
    return function, args, kwargs


def _from_clamp(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
    if func in _MAXIMA:
        both = (*args, *(kwargs[key] for key in ("input", "other") if key in kwargs))
        if len(both) != 2 or not all(isinstance(one, Tensor) for one in both):
            return None  # max along an axis
        for values, floor in (both, both[::-1]):
            if _is_zero(floor) and values.is_floating_point() and floor.numel() <= values.numel():
                return F.relu, (values,), {}
    if func not in _CLAMPS:
        return None
    name, in_place = _CLAMPS[func]
    order = {"clamp_min": ("min",), "clamp_max": ("max",)}.get(name, ("min", "max"))
    given = dict(zip(("input", *order), args, strict=False)) | kwargs
    values, low, high = given.get("input", given.get("self")), given.get("min"), given.get("max")
    if not values.is_floating_point() or not _is_zero(low) or isinstance(high, Tensor):
        return None
    kept = {"inplace": True} if in_place else {}
    if high is None:
        return F.relu, (values,), kept
    return (F.hardtanh, (values, 0.0, float(high)), kept) if high > 0 else None


def _is_zero(bound: Any) -> bool:
    if isinstance(bound, Tensor):
        return not bound.requires_grad and not bool(bound.any())
    return isinstance(bound, numbers.Real) and bound == 0
