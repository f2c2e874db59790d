"""A backward pass that lets through only what speaks for the target at every activation function."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
NAMES = {
    aten.threshold_backward: "ReLU",
    aten.hardtanh_backward: "ReLU6",
    aten.leaky_relu_backward: "LeakyReLU",
    aten.rrelu_with_noise_backward: "RReLU",
    aten._prelu_kernel_backward: "PReLU",
    aten.elu_backward: "ELU",
    aten.gelu_backward: "GELU",
    aten.silu_backward: "SiLU",
    aten.mish_backward: "Mish",
    aten.hardswish_backward: "Hardswish",
    aten.softplus_backward: "Softplus",
}
"""The operations that differentiate activation functions, and what people call these."""

RELUS = ("ReLU", "ReLU6")


class Guided(TorchDispatchMode):
    """While open, gradients that enter an activation function from behind are clamped at 0.

    It acts on the operations that autograd runs, not on modules: so a ReLU is found however it was called (nn.ReLU,
    in place, torch.relu, a method of the tensor), and only on the way from the target to the input.

    Attributes
    ----------
    seen
        The activation functions that were met.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = NAMES.get(func.overloadpacket)
        if name == "ReLU6" and args[2] != 0:  # hardtanh(gradient, input, lowest, highest)
            name = "Hardtanh"
        if name is not None:
            self.seen.add(name)
            args = (args[0].clamp(min=0), *args[1:])
        return func(*args, **(kwargs or {}))
