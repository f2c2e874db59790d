"""The network layers of a model: what can be named when a method asks for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from napari_segxai.core.errors import UserError, nearest
from napari_segxai.models.introspection.call_names import module_of
from napari_segxai.models.introspection.image_path import LARGE_BLOCK
from napari_segxai.models.introspection.layout import infer_layout, is_even
from napari_segxai.models.introspection.roles import Roles, Stage, find_roles
from napari_segxai.models.introspection.trace import Call, Trace

BOTTLENECK, LAST = "bottleneck", "last"
"""Names that stand for a network layer of any network."""


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
        What it is for: encoder, bottleneck, decoder, head; skip for what lies on a skip connection, side for what only
        weights or shifts another map (a gate, a style), unused for what the output does not depend on.
    shape
        (channels, *cells) of the output for the input on which the layers were listed; tokens as their cells.
    order
        Position in the order of execution, from 0.
    reason
        Why it has its stage, in one phrase.
    aliases
        "bottleneck" or "last", where the layer is meant by these names.
    convolution
        Whether it is a single convolution or transposed convolution, whatever its class is called.
    elsewhere
        In what way its map does not lie as the image does (mirrored, of a part); "" where it does.
    """

    name: str
    type: str
    stage: Stage
    shape: tuple[int, ...]
    order: int
    reason: str = ""
    aliases: tuple[str, ...] = ()
    convolution: bool = False
    elsewhere: str = ""


def _upright(name: str | None, roles: Roles) -> str | None:
    """Return a layer, or another call of the same module that sees the image as it lies, where the layer does not."""
    if name is None or name not in roles.elsewhere:
        return name
    others = (
        one for one, stage in roles.stages.items() if module_of(one) == module_of(name) and stage != "unused"
    )
    return next((one for one in others if one not in roles.elsewhere), name)


def list_layers(trace: Trace, strides: Mapping[str, int]) -> tuple[tuple[NetworkLayer, ...], Roles]:
    """Return the calls that gave a feature map, in order of execution, and what they are for.

    Parameters
    ----------
    trace
        One forward pass.
    strides
        Cells of the grid per token, by pattern of layer names, as the model card declares them.
    """
    found: dict[int, tuple[int, ...]] = {}
    maps = {node.shape[2:] for node in trace.nodes if node.cells is not None}
    for k, call in enumerate(trace.calls):
        pairs = call.node is not None and trace.nodes[call.node].pairs
        stride = token_stride(call.name, strides)
        if call.shape is None or pairs:
            continue
        layout = infer_layout(call.shape, trace.grid, stride)
        if layout is not None and layout.kind == "maps" and not is_even(layout.cells, trace.grid):
            # tokens with an axis more, (1, prompts, tokens, channels), have such shapes too: something has to make maps of this size
            layout = layout if layout.cells in maps else None
        if layout is not None:
            channels = call.shape[1] if layout.kind == "maps" else call.shape[-1]
            found[k] = (channels, *layout.cells)
    roles = find_roles(trace, found)
    # Where nothing lies between image and labels, what makes the labels is the only layer there is to look at.
    last = roles.last or roles.head
    bottleneck = roles.bottlenecks[-1] if roles.bottlenecks else roles.middle or last
    meant = {BOTTLENECK: _upright(bottleneck, roles), LAST: _upright(last, roles)}
    layers = []
    for order, k in enumerate(sorted(found, key=lambda k: trace.calls[k].end)):
        call = trace.calls[k]
        aliases = tuple(alias for alias, name in meant.items() if name == call.name)
        layers.append(
            NetworkLayer(
                call.name,
                call.type,
                roles.stages[call.name],
                found[k],
                order,
                roles.reasons[call.name],
                aliases,
                call.convolution,
                roles.elsewhere.get(call.name, ""),
            )
        )
    return tuple(layers), roles


def outline(
    calls: Sequence[Call], layers: Sequence[NetworkLayer], *, followed: bool = True
) -> list[NetworkLayer]:
    """Return the network's main blocks in order of execution: the layers worth a first look.

    They are the outermost modules that depend on the image, and the output on them; one that makes up a large part of the network, or
    returns maps of three resolutions (an encoder), is replaced by its parts.

    Parameters
    ----------
    calls, layers
        Of the network.
    followed
        Whether the output could be followed back to the image, so that what depends on it is known.
    """
    constant = {call.name for call in calls if call.node is None} if followed else set()
    by_name = {
        layer.name: layer for layer in layers if layer.stage != "unused" and layer.name not in constant
    }
    parts: dict[int | None, list[int]] = {}
    for k, call in enumerate(calls):
        parts.setdefault(call.parent, []).append(k)

    def blocks(k: int) -> list[int]:
        call, inner = calls[k], parts.get(k, [])
        below = sum(1 for other in calls if call.start < other.start and other.end < call.end)
        named = any(calls[i].name in by_name for i in inner)
        large = call.pyramid or below > LARGE_BLOCK * len(calls)
        if call.name not in by_name or (named and large):
            return [b for i in inner for b in blocks(i)]
        return [k]

    found = [calls[b].name for k in parts.get(None, []) for b in blocks(k)]
    return sorted((by_name[name] for name in found), key=lambda layer: layer.order)


def token_stride(name: str, strides: Mapping[str, int]) -> int | None:
    """Return the declared stride of a layer; None where none was declared."""
    return next((stride for pattern, stride in strides.items() if fnmatchcase(name, pattern)), None)


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
    for layer in layers:
        if name in layer.aliases:
            return layer
    if name in (BOTTLENECK, LAST):
        raise UserError(
            f"{model_name}: which network layer is the {'bottleneck' if name == BOTTLENECK else 'last one'} cannot be "
            f"told, because what happens between image and output could not be followed; name one of its "
            f"{len(layers)} layers, such as {layers[len(layers) // 2].name!r}."
        )
    unplaced = next((call for call in calls if call.name == name), None)
    if unplaced is not None and unplaced.shape is not None:
        raise UserError(
            f"{model_name}: network layer {name!r} returns shape {unplaced.shape}, in which the place of a value cannot "
            "be told; if these are tokens, write their stride under `tokens` in the model card."
        )
    raise UserError(
        f"{model_name} has no network layer {name!r}; {nearest(name, [layer.name for layer in layers])}"
    )


def check_used(layer: NetworkLayer, model_name: str) -> None:
    """Refuse a network layer that was chosen by hand and on whose map the output does not depend.

    Raises
    ------
    UserError
        If that is so.
    """
    if layer.stage == "unused":
        raise UserError(
            f"{model_name}: the map of network layer {layer.name!r} does not reach the output ({layer.reason}), so that there is nothing to "
            "explain by it; choose another."
        )


def not_run(model_name: str, layer: str) -> UserError:
    """Return the error for a network layer that did not run: the network chooses by the image what it runs."""
    return UserError(f"{model_name} did not run network layer {layer!r} on this image; choose another.")
