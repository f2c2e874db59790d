"""What happens in one forward pass: every call of a module, and every operation on what depends on the image.

The operations make a graph: each knows whose values it reads. Calls of modules only give names to the values that
they return. So what a network layer is for can be told from what the network does, not from the names of its classes.
No tensor is kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from napari_segxai.models.introspection.call_names import CallNames
from napari_segxai.models.introspection.dispatch import DispatchMode
from napari_segxai.models.introspection.modules import first_tensor, named_modules, parts_of
from napari_segxai.models.introspection.operations import (
    ENLARGING,
    NO_DATA,
    READING,
    SAME_VALUES,
    SQUASHED,
    Node,
)


@dataclass(frozen=True)
class Call:
    """One call of one module in a forward pass.

    Attributes
    ----------
    name
        Dotted module path; ``name@2`` is the second call.
    type
        Class name of the module.
    parent
        Position in the list of calls of the call inside which it was made; None for the network itself.
    start, end
        Times on one clock: a call that ended before another started cannot depend on it.
    shape
        Shape of the first floating-point tensor that it returned; None when it returned none.
    overwritten
        Whether the network changed that tensor in place later on.
    node
        Position of the operation that made that tensor; None where it does not depend on the image.
    handed_on
        Whether that tensor is one that was made before the call (an identity, a dropout).
    convolution
        Whether the call is a single convolution (or transposed convolution), whatever its class is called.
    attention
        Whether an attention ran in it.
    read
        Whether the output depends on that tensor by what reads it after the call; true where it does not depend on it at all. A stage of a transformer may return its tokens and, beside them, the map that
        is made of them and alone is read: what stands for its tokens then lies inside of it.
    pyramid
        Whether it returned maps of three resolutions or more, as an encoder does: a part of the network, and no block.
    """

    name: str
    type: str
    parent: int | None
    start: int
    end: int
    shape: tuple[int, ...] | None
    overwritten: bool
    node: int | None = None
    handed_on: bool = False
    convolution: bool = False
    attention: bool = False
    read: bool = True
    pyramid: bool = False


@dataclass(frozen=True)
class Trace:
    """One forward pass.

    Attributes
    ----------
    calls
        By start.
    nodes
        In order of execution; the first is the image.
    end
        Position of the operation that made the output; None where the output could not be followed back to the image
        (a network that leaves torch on its way).
    grid
        Shape of the model grid.
    outputs
        Channels of the output.
    """

    calls: tuple[Call, ...]
    nodes: tuple[Node, ...]
    end: int | None
    grid: tuple[int, ...]
    outputs: int


def trace_pass(module: nn.Module, run: Callable[[Tensor], Tensor], tensor: Tensor) -> Trace:
    """Run the network once on `tensor` and note what happens.

    Parameters
    ----------
    run
        Runs the network and returns (1, outputs, ...).
    tensor
        (1, channels, *grid).
    """
    graph = _Graph(tensor.ndim - 2)
    calls: list[dict[str, Any]] = []
    names = CallNames()
    clock = itertools.count()
    left: dict[int, int] = {}

    def enter(name: str, kind: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: object) -> None:
            call = names.next(name)  # also of calls on vectors, as when recording
            parent = graph.open[-1] if graph.open else None
            graph.open.append(len(calls))
            calls.append(
                {
                    "name": call,
                    "type": kind,
                    "parent": parent,
                    "start": next(clock),
                    "first": len(graph.nodes),
                }
            )

        return hook

    def leave(_module: nn.Module, _args: object, out: object) -> None:
        own = graph.open.pop()
        call = calls[own]
        inside = range(call.pop("first"), len(graph.nodes))
        left[own] = inside.stop
        found = first_tensor(out)
        node = None if found is None else graph.latest(found)
        call.update(
            end=next(clock),
            shape=None if found is None else tuple(found.shape),
            overwritten=False,
            node=node,
            handed_on=node is not None and node not in inside,
            convolution=_is_convolution(graph.nodes, inside, own, node),
            attention=any(graph.nodes[k].attends for k in inside),
            pyramid=len(_sizes(out, graph.dims)) > 2,
        )
        if found is not None:
            graph.watch(found, call)
        if node is not None:
            (graph.nodes[node].names if node in inside else graph.nodes[node].handed).append(own)

    handles = []
    for name, child in named_modules(module):
        if not isinstance(child, torch.jit.ScriptModule):  # takes no hooks
            handles.append(child.register_forward_pre_hook(enter(name, type(child).__name__)))
            handles.append(child.register_forward_hook(leave))
    try:
        with torch.inference_mode(False), torch.no_grad(), graph:
            start = tensor.clone()
            graph.begin(start)
            out = run(start)
            end = graph.latest(out)
    finally:
        for handle in handles:
            handle.remove()
    alive = set[int]()
    waiting = [] if end is None else [end]
    while waiting:
        if (k := waiting.pop()) not in alive:
            alive.add(k)
            waiting += graph.nodes[k].reads
    last_read = {k: reader for reader in sorted(alive) for k in graph.nodes[reader].reads}
    for own, call in enumerate(calls):
        node = call["node"]
        call["read"] = node in (None, end) or node not in alive or last_read.get(node, -1) >= left[own]
        if not call["read"] and own in graph.nodes[node].names:
            graph.nodes[node].names.remove(own)
    found = tuple(Call(**call) for call in calls)
    return Trace(found, tuple(graph.nodes), end, tuple(tensor.shape[2:]), out.shape[1])


def _sizes(out: object, dims: int) -> set[tuple[int, ...]]:
    """Return the sizes of the maps in what a module returned."""
    if isinstance(out, Tensor):
        return {tuple(out.shape[2:])} if out.is_floating_point() and out.ndim == dims + 2 else set()
    return {size for _, part in parts_of(out) or () for size in _sizes(part, dims)}


def _is_convolution(nodes: Sequence[Node], inside: range, own: int, out: int | None) -> bool:
    """Tell whether a call is one convolution, with nothing else that learns or that a submodule did."""
    if out not in inside or any(nodes[k].call != own for k in inside):
        return False
    learned = [nodes[k] for k in inside if nodes[k].learned]
    return len(learned) == 1 and learned[0].op == "convolution" and learned[0].channels == nodes[out].shape[1]


class _Graph(DispatchMode):
    """Notes every operation that reads what depends on the image.

    A tensor is known by itself as long as it lives (weakly), and by the place of its values: who writes into a part of
    another tensor changes what that one holds.
    """

    def __init__(self, spatial_dims: int):
        super().__init__()
        self.dims = spatial_dims
        self.nodes: list[Node] = []
        self.open: list[int] = []
        self._made_by = WeakTensorKeyDictionary()
        self._writes: dict[int, list[int]] = {}
        self._watched: dict[int, list[dict[str, Any]]] = {}

    def begin(self, image: Tensor) -> None:
        self._forget(image)
        cells = math.prod(image.shape[2:])
        self.nodes.append(
            Node("input", (), (), None, tuple(image.shape), cells=cells, channels=image.shape[1])
        )
        self._made_by[image] = 0

    def latest(self, tensor: Tensor) -> int | None:
        """Return the position of the last operation that the values of a tensor come from."""
        found = self._sources(tensor)
        return found[-1] if found else None

    def watch(self, tensor: Tensor, call: dict[str, Any]) -> None:
        """Have a call told when the tensor that it returned is overwritten."""
        self._watched.setdefault(_place(tensor), []).append(call)

    def _sources(self, tensor: Tensor) -> list[int]:
        made = self._made_by.get(tensor)
        later = [k for k in self._writes.get(_place(tensor), ()) if made is None or k > made]
        return ([] if made is None else [made]) + later

    def _forget(self, tensor: Tensor) -> None:
        """Memory that was freed and given out again holds nothing of what was written there before."""
        self._writes.pop(_place(tensor), None)
        self._watched.pop(_place(tensor), None)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        places = {_place(tensor) for tensor in given}
        sources = [self._sources(tensor) for tensor in given]
        out = func(*args, **kwargs)
        op = func._schema.name.partition("::")[2]
        written = _written(func, args, kwargs)
        results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        for tensor in results:
            if _place(tensor) not in places:
                self._forget(tensor)
        for tensor in written:
            for call in self._watched.get(_place(tensor), ()):
                call["overwritten"] = True
        results = [tensor for tensor in results if tensor.is_floating_point() or tensor.is_complex()]
        if op in ("copy_", "fill_", "zero_") and given and self._made_by.get(given[0]) is None:
            sources[0] = []  # a part of a fresh tensor: who reads the whole reads all that was written
        if not results or not any(sources) or op.startswith(NO_DATA):
            return out
        node = self._node(op, args, given, sources, results[0])
        self.nodes.append(node)
        for tensor in (*results, *written):
            self._made_by[tensor] = len(self.nodes) - 1
        for tensor in written:
            self._writes.setdefault(_place(tensor), []).append(len(self.nodes) - 1)
        return out

    def _node(
        self,
        op: str,
        args: tuple[Any, ...],
        given: Sequence[Tensor],
        sources: Sequence[Sequence[int]],
        result: Tensor,
    ) -> Node:
        reads = tuple(sorted({k for found in sources for k in found}))
        shape = tuple(result.shape)
        node = Node(op, reads, reads, self.open[-1] if self.open else None, shape)
        tracked = [(tensor, found) for tensor, found in zip(given, sources, strict=True) if found]
        pools, enlarges = "_pool" in op, op.startswith(ENLARGING)
        map_given = given[0].ndim == self.dims + 2
        if map_given and len(given[0]) == 1 and (op == "convolution" or pools):
            node.taken = tuple(given[0].shape[2:])
        if len(shape) == self.dims + 2 and (op == "convolution" or pools or enlarges):
            node.cells, node.channels = math.prod(shape[2:]), shape[1]
        if op == "convolution" and len(tracked) == 1:
            kernel, stride, dilation = max(args[1].shape[2:]), max(args[3]), max(args[5])
            larger = _mean(args[3], self.dims)
            node.scale = 1 / larger if args[6] else larger
            node.learned, node.upward = True, bool(args[6])
            node.pointwise = kernel == stride == args[8] == 1
            node.wide = kernel > 1
            node.mixes = node.wide and not node.upward and stride == 1
            node.reach = (kernel - 1) * dilation, stride, node.upward
        elif op in ("addmm", "mm", "bmm", "baddbmm", "linear") and len(tracked) == 1:
            node.learned = node.pointwise = True
            node.channels = shape[-1]
        elif op == "bmm" and (of_map := self._only_map(given, sources)) is not None:
            node.main = tuple(sorted(set(of_map)))
        elif op in ("bmm", "baddbmm") or "attention" in op or op == "_transformer_encoder_layer_fwd":
            node.main, node.mixes, node.attends = tuple(sorted(set(tracked[0][1]))), True, True
            node.pairs = "bmm" in op and not self.nodes[tracked[0][1][-1]].pairs
        elif op in ("mul", "mul_") and len(tracked) == 2:
            (a, from_a), (b, from_b) = tracked
            gates = self._is_gate(a, b, from_a), self._is_gate(b, a, from_b)
            if gates[0] != gates[1]:
                node.main = tuple(sorted(set(from_b if gates[0] else from_a)))
        elif op in ("add", "add_", "sub", "sub_") and len(tracked) == 2:
            (a, from_a), (b, from_b) = tracked
            shifts = self._is_shift(a, b), self._is_shift(b, a)
            if shifts[0] != shifts[1]:
                node.main = tuple(sorted(set(from_b if shifts[0] else from_a)))
        elif pools and not op.startswith("_adaptive") and len(args) > 1:
            sizes = args[1] if isinstance(args[1], Sequence) else [args[1]]
            strides = args[2] if len(args) > 2 and args[2] else sizes
            node.reach = max(sizes) - 1, max(strides), False
            node.scale = _mean(strides, self.dims)
        elif op in ("constant_pad_nd", "slice") and (op != "slice" or len(args) < 5 or args[4] == 1):
            node.scale = 1.0
            axis = args[1] % given[0].ndim if op == "slice" and len(args) > 1 else 0
            if map_given and axis >= 2:
                node.kept = shape[axis] / given[0].shape[axis]
        elif op == "flip" and map_given:
            axes = tuple(sorted(axis % given[0].ndim - 2 for axis in args[1]))
            node.flips = axes if min(axes, default=-1) >= 0 else ()
        elif (
            op.startswith(READING) and tracked[0][0] is given[0]
        ):  # where it is read is decided by the others
            node.main = tuple(sorted(set(tracked[0][1])))
        if not node.attends and not node.learned:
            node.pairs = any(self.nodes[found[-1]].pairs for _, found in tracked)
        return node

    def _only_map(self, given: Sequence[Tensor], sources: Sequence[Sequence[int]]) -> Sequence[int] | None:
        """Return where the one factor comes from that lies as the image does, where the other does not: vectors of queries.

        None for an attention, where both do, or neither is seen to.
        """
        if len(given) != 2 or not all(sources):
            return None
        rows, columns = given[0].shape[-2], given[1].shape[-1]
        first, second = self._from_map(sources[0], rows), self._from_map(sources[1], columns)
        if first == second:
            return None
        return sources[0] if first else sources[1]

    def _from_map(self, source: Sequence[int], cells: int) -> bool:
        """Tell whether values are those of a map of so many cells, each by itself: laid out otherwise, or behind a curve."""
        k = source[-1]
        for _ in range(12):
            node = self.nodes[k]
            if len(node.shape) == self.dims + 2 and math.prod(node.shape[2:]) == cells > 1:
                return True
            if len(node.main) != 1 or (node.op not in SAME_VALUES and node.op not in SQUASHED):
                return False
            k = node.main[0]
        return False

    def _is_shift(self, summand: Tensor, other: Tensor) -> bool:
        """Tell whether a summand is one value per channel, the same at all places of a map (a style, a global context)."""
        if summand.ndim != other.ndim or other.ndim not in (3, self.dims + 2):
            return False
        places = slice(2, None) if other.ndim == self.dims + 2 else slice(1, 2)  # maps; tokens, channels last
        return math.prod(summand.shape[places]) == 1 < math.prod(other.shape[places])

    def _is_gate(self, factor: Tensor, other: Tensor, source: Sequence[int]) -> bool:
        """Tell whether a factor weights the other one: it is spread over it, or comes from a squashing function."""
        if factor.numel() < other.numel():
            same_cells = factor.shape[2:] == other.shape[2:]
            if not (factor.ndim == other.ndim and same_cells and 1 < factor.shape[1] != other.shape[1]):
                return True
        node = self.nodes[source[-1]]
        for _ in range(12):
            if node.op in SQUASHED:
                return True
            if len(node.reads) != 1 or node.op not in SAME_VALUES:
                return False
            node = self.nodes[node.reads[0]]
        return False


def _mean(strides: Sequence[int], dims: int) -> float:
    """Return the geometric mean over the axes; one number stands for all."""
    return math.prod(strides) ** (1 / len(strides)) if len(strides) == dims else float(strides[0])


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the arguments that an operation changes in place."""
    if not func._schema.is_mutable:
        return []
    found = []
    for k, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[k] if k < len(args) else kwargs.get(argument.name)
            found += [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
    return found
