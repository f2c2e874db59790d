"""The network layers of a model: what can be named when a method asks for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from napari_segxai.engine.modules import first_tensor, named_modules
from napari_segxai.errors import UserError, nearest

Stage = Literal["encoder", "bottleneck", "decoder", "head"]


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
        (channels, *spatial) of the output for the input on which the layers were listed.
    order
        Position in the order of execution, from 0.
    """

    name: str
    type: str
    stage: Stage
    shape: tuple[int, ...]
    order: int


def list_layers(
    module: nn.Module, run: Callable[[Tensor], Tensor], tensor: Tensor
) -> tuple[NetworkLayer, ...]:
    """Run the network once on `tensor` and list every module that returns a feature map.

    Parameters
    ----------
    run
        Runs the network and returns (1, outputs, ...).
    tensor
        (1, channels, *spatial).
    """
    spatial = tensor.ndim - 2
    calls: list[tuple[str, str, tuple[int, ...]]] = []
    count: dict[str, int] = {}

    def listen(name: str, kind: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: object, out: object) -> None:
            found = first_tensor(out)
            if found is None:
                return
            count[name] = count.get(name, 0) + 1  # also of calls on vectors, as when recording
            if found.ndim != spatial + 2:
                return
            call = name if count[name] == 1 else f"{name}@{count[name]}"
            calls.append((call, kind, tuple(found.shape[1:])))

        return hook

    handles = [
        child.register_forward_hook(listen(name, type(child).__name__))
        for name, child in named_modules(module)
        if not isinstance(child, torch.jit.ScriptModule)  # takes no hooks
    ]
    try:
        with torch.inference_mode():
            outputs = run(tensor).shape[1]
    finally:
        for handle in handles:
            handle.remove()
    stages = _stages([shape for _, _, shape in calls], outputs)
    return tuple(
        NetworkLayer(name, kind, stage, shape, order)
        for order, ((name, kind, shape), stage) in enumerate(zip(calls, stages, strict=True))
    )


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


def find_layer(name: str, layers: Sequence[NetworkLayer], model_name: str) -> NetworkLayer:
    """Return the network layer called `name`; "bottleneck" and "last" stand for those two.

    "last" is the last feature map before the head.

    Raises
    ------
    UserError
        If there is no such layer, with the nearest names.
    """
    by_name = {layer.name: layer for layer in layers}
    if name in by_name:
        return by_name[name]
    if not layers:
        raise UserError(f"{model_name} has no network layers that can be named.")
    if name == "bottleneck":
        found = [layer for layer in layers if layer.stage == "bottleneck"]
        return found[0] if found else layers[-1]
    if name == "last":
        decoder = [layer for layer in layers if layer.stage != "head" and _cells(layer.shape) > 1]
        return decoder[-1] if decoder else layers[-1]
    raise UserError(f"{model_name} has no network layer {name!r}; {nearest(name, by_name)}")
