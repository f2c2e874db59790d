"""ReLUs made smooth for a while, so that a gradient has a gradient of its own.

A ReLU's second derivative is 0 almost everywhere: the gradient of a ReLU network with respect to its input is
constant by pieces, and nothing tells how to move it. With softplus(beta) in place of every ReLU it is smooth
(Dombrowski et al., Explanations can be manipulated and geometry is to blame, NeurIPS 2019, section 5).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Softened(TorchFunctionMode):
    """While open, ReLU, ReLU6 (hardtanh) and leaky ReLU are built from softplus(beta).

    Functions are replaced where they are called, so modules, `F.relu`, `torch.relu` and in-place calls are all found;
    what runs inside TorchScript is not.

    Parameters
    ----------
    beta
        softplus(x) = log(1 + exp(beta x)) / beta: the higher, the nearer to the ReLU.

    Attributes
    ----------
    count
        Calls replaced so far.
    """

    def __init__(self, beta: float):
        super().__init__()
        self.beta = beta
        self.count = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        soft = _SOFT.get(func)
        if soft is None:
            return func(*args, **kwargs)
        self.count += 1
        kwargs.pop("inplace", None)
        values = args[0] if args else kwargs.pop("input")
        if func not in _IN_PLACE:
            return soft(self._plus, values, *args[1:], **kwargs)
        # The backward pass needs what went in, which is about to be overwritten.
        return values.copy_(soft(self._plus, values.clone(), *args[1:], **kwargs))

    def _plus(self, values: Tensor) -> Tensor:
        return F.softplus(values, beta=self.beta)


def _relu(plus: Any, values: Tensor, _inplace: bool = False) -> Tensor:
    return plus(values)


def _leaky_relu(plus: Any, values: Tensor, negative_slope: float = 0.01, _inplace: bool = False) -> Tensor:
    return negative_slope * values + (1 - negative_slope) * plus(values)


def _hardtanh(
    plus: Any, values: Tensor, min_val: float = -1.0, max_val: float = 1.0, _inplace: bool = False
) -> Tensor:
    return min_val + plus(values - min_val) - plus(values - max_val)


def _relu6(plus: Any, values: Tensor, _inplace: bool = False) -> Tensor:
    return _hardtanh(plus, values, 0.0, 6.0)


_IN_PLACE = {torch.relu_, Tensor.relu_, F.leaky_relu_, F.hardtanh_}

_SOFT = {
    **dict.fromkeys((F.relu, torch.relu, Tensor.relu, torch.relu_, Tensor.relu_), _relu),
    **dict.fromkeys((F.leaky_relu, F.leaky_relu_), _leaky_relu),
    **dict.fromkeys((F.hardtanh, F.hardtanh_), _hardtanh),
    F.relu6: _relu6,
}
