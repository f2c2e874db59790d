"""The network layers of a model: what can be named when a method asks for one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, nn

from napari_segxai.engine.layout import infer_layout
from napari_segxai.engine.modules import first_tensor, named_modules
from napari_segxai.errors import UserError, nearest

Stage = Literal["encoder", "bottleneck", "decoder", "head"]


LARGE_BLOCK = 0.4
"""A module with more than this share of all modules is no block but a part of the network."""


@dataclass(frozen=True)
class NetworkLayer:
    """One call of one module in the forward pass.

    Attributes
    ----------
    name
        Dotted module path; ``name@2`` is the second call of a module that is called several times.
    type
        Class name of the module.
    stage
        Where it lies, judged by resolution: encoder until the smallest feature map, which is the
        bottleneck, then decoder; head for what already has one channel per label.
    shape
        (channels, *cells) of the output for the input on which the layers were listed; tokens as their cells.
    order
        Position in the order of execution, from 0.
    """

    name: str
    type: str
    stage: Stage
    shape: tuple[int, ...]
    order: int


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
        Shape of the first tensor that it returned; None when it returned none.
    overwritten
        Whether the network changed that tensor in place later on.
    """

    name: str
    type: str
    parent: int | None
    start: int
    end: int
    shape: tuple[int, ...] | None
    overwritten: bool


def trace_calls(
    module: nn.Module, run: Callable[[Tensor], Tensor], tensor: Tensor
) -> tuple[tuple[Call, ...], int]:
    """Run the network once on `tensor`; return every call of a submodule, by start, and the number of outputs.

    Parameters
    ----------
    run
        Runs the network and returns (1, outputs, ...).
    tensor
        (1, channels, *spatial).
    """
    calls: list[dict[str, Any]] = []
    kept: list[tuple[dict[str, Any], Tensor, int]] = []
    open_calls: list[int] = []
    count: dict[str, int] = {}
    clock = itertools.count()

    def enter(name: str, kind: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: object) -> None:
            count[name] = count.get(name, 0) + 1  # also of calls on vectors, as when recording
            call = name if count[name] == 1 else f"{name}@{count[name]}"
            parent = open_calls[-1] if open_calls else None
            open_calls.append(len(calls))
            calls.append({"name": call, "type": kind, "parent": parent, "start": next(clock)})

        return hook

    def leave(_module: nn.Module, _args: object, out: object) -> None:
        call = calls[open_calls.pop()]
        found = first_tensor(out)
        shape = None if found is None else tuple(found.shape)
        call.update(end=next(clock), shape=shape, overwritten=False)
        if found is not None:
            kept.append((call, found, found._version))

    handles = []
    for name, child in named_modules(module):
        if not isinstance(child, torch.jit.ScriptModule):  # takes no hooks
            handles.append(child.register_forward_pre_hook(enter(name, type(child).__name__)))
            handles.append(child.register_forward_hook(leave))
    try:
        with torch.no_grad():  # under inference_mode tensors do not count their changes
            outputs = run(tensor).shape[1]
    finally:
        for handle in handles:
            handle.remove()
    for call, found, version in kept:
        call["overwritten"] = found._version != version
    return tuple(Call(**call) for call in calls), outputs


def list_layers(
    calls: Sequence[Call], grid: Sequence[int], outputs: int, strides: Mapping[str, int]
) -> tuple[NetworkLayer, ...]:
    """Return the calls that gave a feature map, in order of execution.

    Parameters
    ----------
    calls, outputs
        See `trace_calls`.
    grid
        Shape of the model grid.
    strides
        Cells of the grid per token, by pattern of layer names, as the model card declares them.
    """
    found = []
    for call in sorted(calls, key=lambda call: call.end):
        layout = (
            None if call.shape is None else infer_layout(call.shape, grid, token_stride(call.name, strides))
        )
        if layout is not None:
            channels = call.shape[1] if layout.kind == "maps" else call.shape[-1]
            found.append((call, (channels, *layout.cells)))
    stages = _stages([shape for _, shape in found], outputs)
    return tuple(
        NetworkLayer(call.name, call.type, stage, shape, order)
        for order, ((call, shape), stage) in enumerate(zip(found, stages, strict=True))
    )


def outline(calls: Sequence[Call], layers: Sequence[NetworkLayer]) -> list[NetworkLayer]:
    """Return the network's main blocks in order of execution: the layers that a first look is worth.

    They are the outermost modules; one that makes up a large part of the network is replaced by its parts.
    """
    by_name = {layer.name: layer for layer in layers}
    parts: dict[int | None, list[int]] = {}
    for k, call in enumerate(calls):
        parts.setdefault(call.parent, []).append(k)

    def blocks(k: int) -> list[int]:
        call, inner = calls[k], parts.get(k, [])
        below = sum(1 for other in calls if call.start < other.start and other.end < call.end)
        named = any(calls[i].name in by_name for i in inner)
        if named and (call.name not in by_name or below > LARGE_BLOCK * len(calls)):
            return [b for i in inner for b in blocks(i)]
        return [k] if call.name in by_name else []

    found = [calls[b].name for k in parts.get(None, []) for b in blocks(k)]
    return sorted((by_name[name] for name in found), key=lambda layer: layer.order)


def token_stride(name: str, strides: Mapping[str, int]) -> int | None:
    """Return the declared stride of a layer; None where none was declared."""
    return next((stride for pattern, stride in strides.items() if fnmatchcase(name, pattern)), None)


def _cells(shape: Sequence[int]) -> int:
    return int(torch.Size(shape[1:]).numel())


def _stages(shapes: Sequence[tuple[int, ...]], outputs: int) -> list[Stage]:
    """Name the stage of every layer from the sizes of the feature maps in order of execution."""
    # Maps of a single cell belong to squeeze-and-excitation gates, not to the path of the image.
    maps = [k for k, shape in enumerate(shapes) if _cells(shape) > 1]
    if not maps:
        return ["encoder"] * len(shapes)
    smallest = min(_cells(shapes[k]) for k in maps)
    at_bottom = [k for k in maps if _cells(shapes[k]) == smallest]
    widest = max(shapes[k][0] for k in at_bottom)
    bottom = max(k for k in at_bottom if shapes[k][0] == widest)
    stages: list[Stage] = []
    for k in range(len(shapes)):
        if k == bottom:
            stages.append("bottleneck")
        elif k < bottom:
            stages.append("encoder")
        else:
            stages.append("decoder")
    # The head: from the end backwards, what has the channels of the output.
    for k in reversed(maps):
        if shapes[k][0] != outputs or k <= bottom:
            break
        stages[k] = "head"
    return stages


def find_layer(
    name: str, layers: Sequence[NetworkLayer], model_name: str, calls: Sequence[Call] = ()
) -> NetworkLayer:
    """Return the network layer called `name`; "bottleneck" and "last" stand for those two.

    "last" is the last feature map before the head.

    Raises
    ------
    UserError
        If there is no such layer, with the nearest names.
    """
    for layer in layers:
        if layer.name == name:
            return layer
    if not layers:
        raise UserError(f"{model_name} has no network layers that can be named.")
    if name == "bottleneck":
        found = [layer for layer in layers if layer.stage == "bottleneck"]
        return found[0] if found else layers[-1]
    if name == "last":
        decoder = [layer for layer in layers if layer.stage != "head" and _cells(layer.shape) > 1]
        return decoder[-1] if decoder else layers[-1]
    unplaced = next((call for call in calls if call.name == name), None)
    if unplaced is not None and unplaced.shape is not None:
        raise UserError(
            f"{model_name}: network layer {name!r} returns shape {unplaced.shape}, in which the place of a value cannot "
            "be told; if these are tokens, write their stride under `tokens` in the model card."
        )
    raise UserError(
        f"{model_name} has no network layer {name!r}; {nearest(name, [layer.name for layer in layers])}"
    )
