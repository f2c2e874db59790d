"""ReLUs made smooth for a while, so that a gradient has a gradient of its own.

A ReLU's second derivative is 0 almost everywhere: the gradient of a ReLU network with respect to its input is
constant by pieces, and nothing tells how to move it. With softplus(beta) in place of every ReLU it is smooth
(Dombrowski et al., Explanations can be manipulated and geometry is to blame, NeurIPS 2019, section 5).
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from napari_segxai.engine.backward_rules.relus import Spelling


class SmoothReLU(TorchFunctionMode):
    """While open, activation functions with a kink are built from softplus(beta), which stands for max(x, 0).

    ReLU (also where it is written differently, see `Spelling`), ReLU6, hardtanh, leaky ReLU, PReLU, RReLU, threshold, hardswish,
    hardsigmoid, softshrink, ELU, SELU and CELU. SiLU, GELU, Mish, softplus, sigmoid and tanh are smooth and stay. Functions
    are replaced where they are called, so modules, `F.relu`, `torch.relu` and in-place calls are all found; what runs
    inside TorchScript is not, nor what is written with a comparison in a way that `Spelling` does not read.

    Parameters
    ----------
    beta
        softplus(x) = log(1 + exp(beta x)) / beta: the higher, the nearer to the ReLU.

    Attributes
    ----------
    count
        Calls replaced so far.
    jumps
        Names of the activation functions that were met and stay as they are, for they have a jump.
    """

    def __init__(self, beta: float):
        super().__init__()
        self.beta = beta
        self.count = 0
        self.jumps: set[str] = set()
        self._spelling = Spelling()

    @property
    def comparisons(self) -> set[str]:
        """Comparisons and choices in the pass that may be a ReLU that was not recognised."""
        return self._spelling.comparisons

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        func, args, kwargs = self._spelling.read(func, args, dict(kwargs or {}))
        name = getattr(func, "__name__", "")
        soft = _SOFT.get(func)
        if soft is None:
            if name.rstrip("_") in JUMPS:
                self.jumps.add(name.rstrip("_"))
            out = func(*args, **kwargs)
            self._spelling.note(func, args, out)
            return out
        values = args[0] if args else kwargs["input"]
        given = signature(soft).bind(self._plus, *args, **kwargs).arguments
        in_place = given.pop("inplace", False) or func in _IN_PLACE
        # The backward pass needs what went in, which is about to be overwritten.
        given["input"] = values.clone() if in_place else values
        softened = soft(**given)
        if softened is None:
            self.jumps.add(name.rstrip("_"))
            return func(*args, **kwargs)
        self.count += 1
        return values.copy_(softened) if in_place else softened

    def _plus(self, values: Tensor) -> Tensor:
        return F.softplus(values, beta=self.beta)


JUMPS = ("hardshrink",)

Plus = Callable[[Tensor], Tensor]
"""The softplus that stands for max(x, 0)."""


def _relu(plus: Plus, input: Tensor, inplace: bool = False) -> Tensor:
    return plus(input)


def _leaky_relu(plus: Plus, input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    return negative_slope * input + (1 - negative_slope) * plus(input)


def _prelu(plus: Plus, input: Tensor, weight: Tensor) -> Tensor:
    if weight.numel() > 1:  # one slope per channel
        weight = weight.reshape(1, -1, *(1,) * (input.ndim - 2))
    return weight * input + (1 - weight) * plus(input)


def _rrelu(
    plus: Plus,
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor | None:
    return None if training else _leaky_relu(plus, input, (lower + upper) / 2)


def _threshold(
    plus: Plus, input: Tensor, threshold: float, value: float, inplace: bool = False
) -> Tensor | None:
    return None if threshold != value else value + plus(input - threshold)


def _hardtanh(
    plus: Plus, input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    return min_val + plus(input - min_val) - plus(input - max_val)


def _relu6(plus: Plus, input: Tensor, inplace: bool = False) -> Tensor:
    return _hardtanh(plus, input, 0.0, 6.0)


def _hardsigmoid(plus: Plus, input: Tensor, inplace: bool = False) -> Tensor:
    return _relu6(plus, input + 3) / 6


def _hardswish(plus: Plus, input: Tensor, inplace: bool = False) -> Tensor:
    return input * _hardsigmoid(plus, input)


def _softshrink(plus: Plus, input: Tensor, lambd: float = 0.5) -> Tensor:
    return plus(input - lambd) - plus(-input - lambd)


def _elu(plus: Plus, input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    return plus(input) + alpha * torch.expm1(-plus(-input))


def _celu(plus: Plus, input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    return plus(input) + alpha * torch.expm1(-plus(-input) / alpha)


def _selu(plus: Plus, input: Tensor, inplace: bool = False) -> Tensor:
    return SELU_SCALE * _elu(plus, input, SELU_ALPHA)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
"""Klambauer, Unterthiner, Mayr, Hochreiter, Self-normalizing neural networks, NeurIPS 2017."""

_BY_NAME: dict[str, Callable[..., Tensor | None]] = {
    "relu": _relu,
    "relu6": _relu6,
    "leaky_relu": _leaky_relu,
    "prelu": _prelu,
    "rrelu": _rrelu,
    "threshold": _threshold,
    "hardtanh": _hardtanh,
    "hardsigmoid": _hardsigmoid,
    "hardswish": _hardswish,
    "softshrink": _softshrink,
    "elu": _elu,
    "celu": _celu,
    "selu": _selu,
}
_HOMES = (F, torch, Tensor)
_SOFT = {
    getattr(home, name + end): soft
    for home in _HOMES
    for name, soft in _BY_NAME.items()
    for end in ("", "_")
    if hasattr(home, name + end)
}
_IN_PLACE = {getattr(home, name + "_") for home in _HOMES for name in _BY_NAME if hasattr(home, name + "_")}
