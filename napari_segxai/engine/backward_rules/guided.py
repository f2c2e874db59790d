"""Guided backpropagation: every activation function passes back only what speaks for the target."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from napari_segxai.engine.backward_rules.relus import Spelling
from napari_segxai.models.introspection.dispatch import DispatchMode

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

OTHERS = {
    aten.hardsigmoid_backward: "Hardsigmoid",
    aten.hardshrink_backward: "Hardshrink",
    aten.softshrink_backward: "Softshrink",
    aten.log_sigmoid_backward: "LogSigmoid",
    aten.sigmoid_backward: "Sigmoid",
    aten.tanh_backward: "Tanh",
}
"""Those of gates and the like, which have no side that is off, and are left alone."""

RELUS = ("ReLU", "ReLU6")
SHRINKS = ("Hardshrink", "Softshrink")
"""Activation functions that are off around 0: not on one side."""


class Guided(DispatchMode):
    """While open, gradients that enter an activation function from behind are clamped at 0.

    It acts on the operations that autograd runs, not on modules: so a ReLU is found however it was called (nn.ReLU,
    in place, torch.relu, a method of the tensor; and as `Spelling` reads it), and only on the way from the target to the input.

    Attributes
    ----------
    seen
        The activation functions that were met.
    left_alone
        Those that were met and are not guided.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.left_alone: set[str] = set()
        self._spelling = _OneSpelling()

    @property
    def comparisons(self) -> set[str]:
        """Comparisons and choices in the pass that may be a ReLU that was not recognised."""
        return self._spelling.spelling.comparisons

    def __enter__(self) -> Guided:
        self._spelling.__enter__()
        return super().__enter__()

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        super().__exit__(exc_type, exc_val, exc_tb)
        self._spelling.__exit__(exc_type, exc_val, exc_tb)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = NAMES.get(func.overloadpacket)
        if name == "ReLU6" and args[2] != 0:  # hardtanh(gradient, input, lowest, highest)
            name = "Hardtanh"
        elif name == "ELU":  # elu_backward(gradient, alpha, scale, scale of the input, ...)
            name = "SELU" if args[2] != 1 else "CELU" if args[3] != 1 else name
        if func.overloadpacket in OTHERS:
            self.left_alone.add(OTHERS[func.overloadpacket])
        if name is not None:
            self.seen.add(name)
            args = (args[0].clamp(min=0), *args[1:])
        return func(*args, **(kwargs or {}))


class _OneSpelling(TorchFunctionMode):
    """While open, ReLUs that are written differently are called by their name."""

    def __init__(self) -> None:
        super().__init__()
        self.spelling = Spelling()

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        func, args, kwargs = self.spelling.read(func, args, dict(kwargs or {}))
        out = func(*args, **kwargs)
        self.spelling.note(func, args, out)
        return out
