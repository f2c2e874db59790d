"""One pass of a network with a graph, in which every function of torch is watched: where does the gradient stop?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from inspect import CO_VARARGS
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.overrides import TorchFunctionMode

from napari_segxai.models.introspection.call_names import CallNames
from napari_segxai.models.introspection.modules import (
    first_tensor,
    named_modules,
    parts_of,
    replace_first_tensor,
)

if TYPE_CHECKING:
    from napari_segxai.models.segmentation import SegmentationModel

STEP_FUNCTIONS = ("ceil", "floor", "heaviside", "round", "sgn", "sign", "trunc")
"""Functions whose gradient is zero wherever there is one."""

FLAT = (
    "argmax",
    "argmin",
    "argsort",
    "bucketize",
    "eq",
    "ge",
    "gt",
    "item",
    "le",
    "lt",
    "ne",
    "numpy",
    "tolist",
)
"""Functions that return whole numbers, truth values or what is not torch's, through which nothing flows back."""

FRAME = getattr(getattr(torch.autograd.Function.apply, "__func__", None), "__code__", None)
"""Inside of it lies a function that tells by itself what flows back; None since torch 2.14, where it is not written in Python."""


@dataclass(frozen=True)
class Suspect:
    """A call of a function whose input had a gradient and whose output has none.

    Attributes
    ----------
    number
        Which call of a torch function in the pass.
    layer
        The network layer in which it was made; "" for the network's own forward.
    function
        Its name.
    off
        Whether gradients were off.
    digest
        What changes when the numbers do; None where it returned none.
    """

    number: int
    layer: str
    function: str
    off: bool
    digest: tuple[float, ...] | None


@dataclass
class WatchedPass:
    """What one pass showed: the output, where gradients were to begin, suspects, and calls of `STEP_FUNCTIONS`."""

    output: Tensor
    starts: list[Tensor]
    suspects: list[Suspect]
    rounded: list[Suspect]


class WatchedNetwork:
    """Runs a network with a graph from its input, or from network layers, and watches every function of torch."""

    def __init__(self, model: SegmentationModel, layers: Sequence[str]):
        self.model, self.layers = model, layers

    def __call__(
        self, x: Tensor, tampered: set[int] | None = None, changed: str | None = None
    ) -> WatchedPass:
        """Run on (1, channels, *grid); with what calls in `tampered` or the layer `changed` return made different."""
        starts: dict[str, Tensor] = {}
        if not self.layers:
            x = x.detach().clone().requires_grad_(True)
            starts[""] = x
        watch = _Watch(tampered or set())
        compiled = any("_orig_mod" in name for name, _ in named_modules(self.model.module))
        mode = nullcontext() if compiled else watch  # which would be compiled again
        with _opened(self.model, watch, set(self.layers), starts, changed), mode:
            output = self.model.network_output(x)
        ordered = [starts[name] for name in self.layers if name in starts] if self.layers else [x]
        return WatchedPass(output, ordered, watch.suspects, watch.rounded)


def beginning(found: Tensor, *, graph: bool) -> Tensor:
    """Return a layer's output as the start of a graph; the output itself where it is part of a graph already.

    Parameters
    ----------
    graph
        Whether there will be backward passes.
    """
    if found.requires_grad:
        return found
    if found.is_inference():  # neither counts its changes nor takes part in graphs
        with torch.inference_mode(False):
            return found.clone().requires_grad_(graph)
    return found.detach().requires_grad_(graph)


@contextmanager
def _opened(
    model: SegmentationModel, watch: _Watch, layers: set[str], starts: dict[str, Tensor], changed: str | None
) -> Generator[None]:
    """Tell `watch` which module runs, and begin the graph at `layers`."""
    names = CallNames()

    def enter(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            watch.open.append(name)

        return hook

    def leave(name: str) -> Callable[..., Any]:
        def hook(_module: nn.Module, _args: Any, out: Any) -> Any:
            if watch.open:
                watch.open.pop()
            call = names.next(name)
            found = first_tensor(out) if call in layers else None
            if found is None:
                return None
            # The layer itself may run without gradients: what comes after it counts.
            with torch._C.DisableTorchFunction(), torch.inference_mode(False), torch.enable_grad():
                leaf = starts[call] = beginning(found, graph=True)
                going_on = _other(leaf) if call == changed else leaf.clone()
            return replace_first_tensor(out, lambda _: going_on)

        return hook

    handles = []
    if model.has_layers:
        for name, module in named_modules(model.module):
            if not isinstance(module, torch.jit.ScriptModule):
                handles.append(module.register_forward_pre_hook(enter(name)))
                handles.append(module.register_forward_hook(leave(name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Watch(TorchFunctionMode):
    """Notes every call that takes something with a gradient and returns something without."""

    def __init__(self, tampered: set[int]):
        super().__init__()
        self.tampered = tampered
        self.open: list[str] = []
        self.suspects: list[Suspect] = []
        self.rounded: list[Suspect] = []
        self.number = 0

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.number += 1
        name = getattr(func, "__name__", "")
        if name in ("__get__", "__set__"):
            name = getattr(getattr(func, "__self__", None), "__name__", name)
        graph = any(t.requires_grad for t in _floats((args, tuple(kwargs.values()))))
        number, before = self.number, _version(args[0]) if args else None
        out = func(*args, **kwargs)
        if not graph:
            return out
        whole = isinstance(out, Tensor) and not out.is_floating_point()
        name = name.strip("_")
        if name in STEP_FUNCTIONS and not whole:
            self.rounded.append(self._suspect(number, name, None))
        results = list(_floats(out))
        # Written into in place while gradients are off: what is returned still says that it has one.
        written = bool(args) and out is args[0] and _version(out) != before and not torch.is_grad_enabled()
        if results and (written or not all(t.requires_grad for t in results)):
            if name not in ("requires_grad", "grad") and not _in_function():
                self.suspects.append(self._suspect(number, name, _digest(results)))
                if number in self.tampered:
                    return _tampered(out, args)
        elif not results and name in FLAT and not _in_function():
            self.suspects.append(self._suspect(number, name, None))
        return out

    def _suspect(self, number: int, name: str, digest: tuple[float, ...] | None) -> Suspect:
        off = not torch.is_grad_enabled() or torch.is_inference_mode_enabled()
        return Suspect(number, self.open[-1] if self.open else "", name, off, digest)


def _version(value: Any) -> int | None:
    return value._version if isinstance(value, Tensor) and not value.is_inference() else None


def _in_function() -> bool:
    """Tell whether a `torch.autograd.Function` is running."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code is FRAME or (FRAME is None and _is_own_forward(frame)):
            return True
        frame = frame.f_back
    return False


def _is_own_forward(frame: FrameType) -> bool:
    """Tell whether a frame is of the `forward` of a `torch.autograd.Function`, with its context or without."""
    code = frame.f_code
    if code.co_name != "forward" or not code.co_argcount + bool(code.co_flags & CO_VARARGS):
        return False
    first = frame.f_locals.get(code.co_varnames[0])
    if isinstance(first, FunctionCtx):
        return True
    return not isinstance(first, nn.Module) and any(
        getattr(each.forward, "__code__", None) is code for each in _below(torch.autograd.Function)
    )


def _below(kind: Any) -> Iterator[Any]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def _floats(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
        return
    if isinstance(value, dict | tuple | list):
        for _, item in parts_of(value) or ():
            yield from _floats(item)


def _digest(tensors: Sequence[Tensor]) -> tuple[float, ...]:
    with torch._C.DisableTorchFunction(), torch.no_grad():
        return tuple(
            float(number) for t in tensors for number in (t.double().sum(), t.double().square().sum())
        )


def _other(tensor: Tensor) -> Tensor:
    """Return other numbers of the same kind."""
    noise = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(3)).to(tensor)
    return tensor * 1.3 + (0.1 + tensor.detach().float().std(unbiased=False).to(tensor.dtype)) * noise


def _tampered(out: Any, args: tuple) -> Any:
    with torch._C.DisableTorchFunction(), torch.no_grad():
        if args and out is args[0]:
            out.copy_(_other(out))
            return out
        return replace_first_tensor(out, lambda t: _other(t.detach()))
