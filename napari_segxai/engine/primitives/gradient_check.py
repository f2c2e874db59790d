"""Whether gradients arrive: where a network loses them, found once per network on an example input.

A part that runs under ``torch.no_grad``, is detached, rounded or read out of torch passes no gradient on. Where nothing
arrives, a map would be zero, or the mask that a descent began with; where only some arrives, a map would lack a part. Both
are refused, with the place. What does not depend on the input, or what nothing depends on, may be detached as it likes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from napari_segxai.core.errors import UserError
from napari_segxai.models.inference.memory import is_out_of_memory
from napari_segxai.models.inference.weights import state
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

FRAME = torch.autograd.Function.apply.__func__.__code__
"""Inside of it lies a function that tells by itself what flows back."""

TOLERANCE = 1e-6
"""Least change of the output, as a share of the largest output, that counts as one."""

MOST_TRIED = 8
"""So many suspects are tried one by one; of more, the first is named."""


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


def check_gradients(model: SegmentationModel, layers: Sequence[str] = ()) -> None:
    """Refuse a network that loses the gradient between its output and its input, or some of its layers.

    It costs a forward and a backward pass on the example grid, once per network (as it is now) and choice of layers; more
    only where something is lost.

    Parameters
    ----------
    model
        In use.
    layers
        Names of network layers, from which a gradient is wanted; none: from the input.

    Raises
    ------
    UserError
        Naming the network layer where the gradient stops, and why.
    """
    model = model.original or model
    now, key = state(model.module), tuple(layers)
    if model.lost_gradients[0] != now:
        model.lost_gradients = now, {}
    known = model.lost_gradients[1]
    if key not in known:
        try:
            with torch.inference_mode(False), torch.enable_grad():
                known[key] = _find_loss(model, [model.find_layer(name).name for name in layers])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return  # the job itself says so, if it has too little as well
    if known[key]:
        raise UserError(known[key])


def _find_loss(model: SegmentationModel, layers: Sequence[str]) -> str:
    """Return what is to be said; "" where gradients arrive."""
    frozen = [t for t in (*model.module.parameters(), *model.module.buffers()) if t.is_inference()]
    if frozen:
        return (
            f"{model.name} passes no gradient on: it was made inside torch.inference_mode(); make or load it outside, or "
            "use a method without gradients, such as rise."
        )
    x = model.example().to(model.device)
    other = x.flip(-1) + 0.1 * torch.rand(x.shape, generator=torch.Generator().manual_seed(1)).to(x.device)
    run = _Run(model, layers)
    try:
        first = run(x)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        with torch.no_grad():
            model.logits(x)  # a network that fails in any case says so itself
        return (
            f"{model.name} cannot run while gradients are kept ({_first_sentence(error)}); let it run without that, or use a "
            "method without gradients, such as rise."
        )
    out = first.output
    inexact = [s for s in first.suspects if s.digest is not None]
    if inexact:
        again, same = ({s.number: s.digest for s in run(one).suspects} for one in (other, x))
        # What does not change with the input is a constant: a grid of positions, a mask of a shape; what changes without it
        # is random.
        inexact = [s for s in inexact if again.get(s.number) != s.digest == same.get(s.number)]
    for suspect in inexact[:MOST_TRIED]:
        if _differ(run(x, tampered={suspect.number}).output, out):
            return _lost(model, suspect, layers)
    if len(inexact) > MOST_TRIED and _differ(run(x, tampered={s.number for s in inexact}).output, out):
        return _lost(model, inexact[0], layers)
    return _nothing_arrives(model, layers, run, first, x, other)


def _nothing_arrives(
    model: SegmentationModel, layers: Sequence[str], run: _Run, first: _Pass, x: Tensor, other: Tensor
) -> str:
    """Look for starts that no gradient reaches though the output depends on them."""
    gradients: list[Tensor | None] = [None] * len(first.starts)
    if first.output.requires_grad:
        weights = torch.rand(first.output.shape, generator=torch.Generator().manual_seed(2)).to(x.device)
        try:
            gradients = list(
                torch.autograd.grad((first.output * weights).sum(), first.starts, allow_unused=True)
            )
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            return (
                f"{model.name} passes no gradient on: its backward pass fails ({_first_sentence(error)}); "
                "use a method without gradients, such as rise."
            )
    for k, gradient in enumerate(gradients):
        if gradient is not None and ((layers and not first.rounded) or bool(gradient.any())):
            continue  # a layer may well be one on which nothing depends just here
        changed = run(x, tampered=set(), changed=layers[k]).output if layers else run(other).output
        if not _differ(changed, first.output):
            continue
        flat = [s for s in first.suspects if s.digest is None or s.off]
        found = flat[0] if gradient is None and flat else None
        if gradient is not None and first.rounded:
            found = first.rounded[-1]
        if found is not None:
            return _lost(model, found, layers)
        where = f"network layer {layers[k]!r}" if layers else "its input"
        if gradient is not None:
            return (
                f"{model.name} passes only zeros from its output to {where} as gradient on a random example, though the output "
                "changes with it (it is saturated, as probabilities of exactly 0 and 1 are, clamped, or a function of its own says "
                "so); let it return its logits, or use a method without gradients, such as rise."
            )
        return (
            f"{model.name} passes no gradient from its output to {where} (it is detached, rounded, constant or computed by "
            "what torch does not follow); use a method without gradients, such as rise."
        )
    return ""


def _first_sentence(error: BaseException) -> str:
    """Return what torch says, without its advice to programmers."""
    return (str(error) or type(error).__name__).splitlines()[0].partition(". ")[0].rstrip(".")


def _lost(model: SegmentationModel, suspect: Suspect, layers: Sequence[str]) -> str:
    where = f"in network layer {suspect.layer!r}" if suspect.layer else "in its own forward()"
    name = suspect.function
    if suspect.off:
        why = "runs with gradients switched off (torch.no_grad or inference_mode)"
    elif name in ("detach", "data"):
        why = "is detached (detach() or .data)"
    elif name in FLAT:
        why = f"goes through {name}, whose result has no gradient"
    elif name in STEP_FUNCTIONS:
        why = f"is rounded by {name}, which is flat"
    else:
        why = f"goes through {name}, whose result has no gradient"
    start = "a network layer before it" if layers else "the input"
    return (
        f"{model.name} passes no gradient from its output to {start}, or only a part: what is computed {where} {why}; let it "
        "run without that, choose a network layer behind it, or use a method without gradients, such as rise."
    )


def _differ(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return True
    apart = (one.detach() - other.detach()).abs().max()
    return not bool(apart <= TOLERANCE * other.detach().abs().max().clamp(min=1e-12))


@dataclass
class _Pass:
    """What one pass showed: the output, where gradients were to begin, suspects, and calls of `STEP_FUNCTIONS`."""

    output: Tensor
    starts: list[Tensor]
    suspects: list[Suspect]
    rounded: list[Suspect]


class _Run:
    """Runs a network with a graph from its input, or from network layers, and watches every function of torch."""

    def __init__(self, model: SegmentationModel, layers: Sequence[str]):
        self.model, self.layers = model, layers

    def __call__(self, x: Tensor, tampered: set[int] | None = None, changed: str | None = None) -> _Pass:
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
        return _Pass(output, ordered, watch.suspects, watch.rounded)


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
        if frame.f_code is FRAME:
            return True
        frame = frame.f_back
    return False


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
