"""Activations and gradients of network layers, from one forward and any number of backward passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from napari_segxai.core.capabilities import ONE_PASS
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.intermediates import intermediates
from napari_segxai.engine.primitives.cancellation import (
    CANCELS,
    first_names,
    noise_of_products,
    product_noise,
)
from napari_segxai.engine.primitives.gradient_check import known_to_reach
from napari_segxai.engine.primitives.gradient_watch import beginning
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import (
    Tiles,
    check_memory,
    enlarged,
    in_window,
    slopes_of,
    so_far,
    views_of,
)
from napari_segxai.models.inference.memory import guarded
from napari_segxai.models.introspection.call_names import CallNames, module_of
from napari_segxai.models.introspection.layers import not_run, token_stride
from napari_segxai.models.introspection.layout import Layout, infer_layout
from napari_segxai.models.introspection.modules import find_module, first_tensor, replace_first_tensor


class Recorded(NamedTuple):
    """What one network layer did: activation and gradient, (1, channels, *layer grid) each, and where its cells lie."""

    activation: Tensor
    gradient: Tensor
    tiles: Tiles


def record(
    question: Question,
    names: Sequence[str],
    score: Callable[[Tensor], Tensor] | None = None,
    partial: Callable[[list[Recorded]], Finding] | None = None,
) -> Steps[list[Recorded]]:
    """Record activation and gradient of the target for every named network layer.

    Through windows, those are looked at in which the score lies.

    Parameters
    ----------
    names
        Network layers; ``name@2`` is the second call of a module.
    score
        Logits (1, labels, *grid) -> the one number that is differentiated; the target's score by default.
    partial
        What was recorded in the first windows -> what can be shown of it; it notes nothing elsewhere.

    Yields
    ------
    Step
        After the forward and after the backward pass, or after every window.

    Returns
    -------
    list of Recorded
        Of several layers, one that does not influence the target has a zero gradient and leaves a warning.

    Raises
    ------
    UserError
        If the target depends on none of them.
    """
    if question.model.windows is not None:
        return (yield from _record_windows(question, names, score, partial))
    score = score or question.score
    tape = LayerRecorder(question, names)
    yield question.step("forward pass")
    gradients = tape.gradients(score(tape.logits))
    yield question.step("backward pass")
    whole = Tiles()
    return [Recorded(a, g, whole) for a, g in zip(tape.activations, gradients, strict=True)]


def products(
    question: Question,
    name: str,
    weigh: Callable[[Tensor], Tensor],
    channels: int = 0,
    *,
    warn: bool = True,
    score: Callable[[Tensor], Tensor] | None = None,
    partial: Callable[[Tensor], Finding] | None = None,
) -> Steps[tuple[Tensor, dict[str, Tensor]]]:
    """Return the sum over the channels of a network layer of weights times activation, place by place.

    These are contributions to the score. Through windows they are added up one by one, so that a layer at full resolution takes no
    more memory than a window and a map.

    Parameters
    ----------
    weigh
        Gradient (n, channels, *layer grid) -> weights of the same shape, every image by itself.
    channels
        For how many channels what is multiplied is returned as well; then all windows are kept.
    warn
        Whether sums that are rounding errors leave a warning.
    score
        As of `record`.
    partial
        Sum over the first windows, (*grid) -> what can be shown of it.

    Returns
    -------
    Tensor
        (*layer grid), or (*grid) through windows.
    dict
        See `intermediates`.
    """
    model = question.model
    if model.windows is None or channels or model.windows.size == question.grid:

        def of_recorded(found: list[Recorded]) -> Finding:
            assert partial is not None
            [(activation, gradient, tiles)] = found
            map = (tiles.rejoin(weigh(tiles.split(gradient))) * activation).sum(1)[0]
            return partial(tiles.place(map, adds=True))

        shown = None if partial is None else of_recorded
        [(activation, gradient, tiles)] = yield from record(question, [name], score, shown)
        weights = tiles.rejoin(weigh(tiles.split(gradient)))
        map = (weights * activation).sum(1)[0]
        question.warnings += product_noise(name, map, weights, activation) if warn else []
        parts = intermediates(activation, weights, map, channels)
        placed = {key: tiles.place(part, adds=True) for key, part in parts.items()}
        return tiles.place(map, adds=True), placed
    slopes, tiles = slopes_of(question, score)
    tiling = slopes.tiling
    yield question.step("forward pass")
    out = torch.zeros(tiling.padded, device=question.device)
    largest, size = 0.0, 0.0

    def first(number: int) -> Callable[[], Finding] | None:
        if partial is None:
            return None
        return lambda: so_far(tiles, number, partial(out[tiling.inner].clone()))

    for number, view in enumerate(tiles.views, start=1):
        tape = LayerRecorder(in_window(question, tiling, view), [name])
        [gradient] = tape.gradients((tape.logits * slopes.at(view)).sum())
        each = weigh(gradient) * tape.activations[0]
        map = each.sum(1)[0]
        out[tiling.place(view.corner)] += enlarged(map, tiling, view)
        largest = max(largest, float(map.abs().max()))
        size += float(each.abs().sum(1).mean()) / len(tiles.views)
        del tape, gradient, each
        yield question.step(f"window {number} of {len(tiles.views)}", first(number))
    question.executor.note_windows(len(tiles.views), gradients=True)
    if warn and largest < CANCELS * size:
        question.warnings.append(noise_of_products(name))
    return out[tiling.inner], {}


def _record_windows(
    question: Question,
    names: Sequence[str],
    score: Callable[[Tensor], Tensor] | None,
    partial: Callable[[list[Recorded]], Finding] | None,
) -> Steps[list[Recorded]]:
    slopes, tiles = slopes_of(question, score)
    tiling = slopes.tiling
    yield question.step("forward pass")
    kept: list[tuple[list[Tensor], list[Tensor]]] = []

    def recorded(number: int) -> list[Recorded]:
        own, some = Tiles(tiling, tiles.views[:number]), kept[:number]
        return [
            Recorded(own.join([a[k] for a, _ in some]), own.join([g[k] for _, g in some]), own)
            for k in range(len(names))
        ]

    def first(number: int) -> Callable[[], Finding] | None:
        if partial is None:
            return None
        return lambda: so_far(tiles, number, partial(recorded(number)))

    for number, view in enumerate(tiles.views, start=1):
        part = in_window(question, tiling, view)
        tape = LayerRecorder(part, names)
        _check_windows(2 * len(tiles.views), len(tiles.views), tape.activations)
        found = tape.gradients((tape.logits * slopes.at(view)).sum())
        kept.append((tape.activations, found))
        yield question.step(f"window {number} of {len(tiles.views)}", first(number))
    question.executor.note_windows(len(tiles.views), gradients=True)
    return recorded(len(kept))


def _check_windows(times: int, windows: int, values: Sequence[Tensor]) -> None:
    check_memory(times * sum(one[0].numel() for one in values), f"in the {windows} windows that M lies in")


class LayerRecorder:
    """A forward pass with the graph from the network layers to the logits, for any number of backward passes.

    The graph begins at the earliest of the layers and reaches the logits alone: parameters are frozen and the input
    takes no gradient. What is recorded is kept from in-place operations further on.

    Parameters
    ----------
    question
        Its model and input; passes and warnings go there.
    names
        Network layers.
    graph
        Whether there will be backward passes.

    Attributes
    ----------
    logits
        (1, labels, *grid), with the graph.
    activations
        (1, channels, *layer grid) per layer, without a graph.
    """

    def __init__(self, question: Question, names: Sequence[str], *, graph: bool = True):
        question.model.require((ONE_PASS,))
        self.question = question
        self._graph = graph
        model = question.model
        self.layers = [model.find_layer(name) for name in names]
        if graph:
            known_to_reach(question, [layer.name for layer in self.layers])
        overwritten = {call.name for call in model.example_calls if call.overwritten}
        try:
            self._tensors, self.logits = self._forward(overwritten)
            intact = all(tensor._version == version for tensor, version in self._tensors.values())
        except RuntimeError:  # autograd refuses to overwrite what a graph begins with
            intact = False
        if not intact:  # what a network overwrites may depend on its input: then all is copied
            self._tensors, self.logits = self._forward({layer.name for layer in self.layers})
        question.remember_logits(self.logits)
        self.layouts = [self._layout(layer.name) for layer in self.layers]
        self.activations = [
            layout.to_maps(self._tensors[layer.name][0].detach())
            for layer, layout in zip(self.layers, self.layouts, strict=True)
        ]

    def _forward(self, copied: set[str]) -> tuple[dict[str, tuple[Tensor, int]], Tensor]:
        captured: dict[str, tuple[Tensor, int]] = {}
        wanted: dict[str, set[str]] = {}
        for layer in self.layers:
            wanted.setdefault(module_of(layer.name), set()).add(layer.name)
        handles = []
        try:
            for path, calls in wanted.items():
                module = find_module(self.question.model.module, path)
                handles.append(
                    module.register_forward_hook(_capture(path, calls, copied, captured, self._graph))
                )
            with torch.set_grad_enabled(self._graph), guarded(self.question.device):
                logits = self.question.forward(self.question.input)
        finally:
            for handle in handles:
                handle.remove()
        missing = [layer.name for layer in self.layers if layer.name not in captured]
        if missing:
            raise not_run(self.question.model.name, missing[0])
        return captured, logits

    def _layout(self, name: str) -> Layout:
        shape = tuple(self._tensors[name][0].shape)
        strides = self.question.model.card.tokens
        layout = infer_layout(shape, self.question.grid, token_stride(name, strides))
        if layout is None:
            raise UserError(
                f"{self.question.model.name}: network layer {name!r} returns shape {shape} for this image, in which the "
                "place of a value cannot be told; write the stride of its tokens under `tokens` in the model card."
            )
        if layout.kind == "windows":
            said = f"network layer {name} works in windows of {layout.window} cells; if it shifts them, its map is shifted."
            self.question.warnings += [said] * (said not in self.question.warnings)
        return layout

    def gradients(self, score: Tensor, *, keep: bool = False) -> list[Tensor]:
        """Return the gradient of a scalar for every layer: (1, channels, *layer grid).

        Parameters
        ----------
        score
            One number, computed from `logits`.
        keep
            Whether the graph is kept for another backward pass.

        Raises
        ------
        UserError
            If the score depends on none of the layers.
        """
        found: dict[int, Tensor] = {}
        reached = self.each_gradient(score, lambda k, gradient: found.__setitem__(k, gradient), keep=keep)
        if not reached:
            names = first_names([repr(layer.name) for layer in self.layers])
            raise UserError(
                f"{self.question.model.name}: the score of {self.question.target.label!r} does not depend on what network layer {names} returns, "
                "so that the map would be zero; choose another."
            )
        return [found[k] for k in range(len(self.layers))]

    def each_gradient(
        self, score: Tensor, take: Callable[[int, Tensor], None], *, keep: bool = False
    ) -> set[int]:
        """Hand every layer's gradient to `take` while the backward pass runs, so that it need not be kept.

        Layers that do not influence the score get zeros and leave a warning; the numbers of the others are returned.
        """
        seen: set[int] = set()
        tensors = [self._tensors[layer.name][0] for layer in self.layers]

        def listen(k: int) -> Callable[[Tensor], None]:
            def hook(gradient: Tensor) -> None:
                seen.add(k)
                with torch.no_grad():
                    take(k, self.layouts[k].to_maps(gradient))

            return hook

        leaves = [tensor for tensor in tensors if tensor.is_leaf]
        handles = [tensor.register_hook(listen(k)) for k, tensor in enumerate(tensors)]
        try:
            with guarded(self.question.device):
                if score.requires_grad:
                    torch.autograd.grad(score, leaves, retain_graph=keep, allow_unused=True)
        finally:
            for handle in handles:
                handle.remove()
        self.question.passes.backward += 1
        for k, layer in enumerate(self.layers):
            if k not in seen:
                warning = f"network layer {layer.name} does not influence the target; its map is zero."
                if warning not in self.question.warnings:
                    self.question.warnings.append(warning)
                take(k, torch.zeros_like(self.activations[k]))
        return seen


def _capture(
    path: str,
    wanted: set[str],
    copied: set[str],
    captured: dict[str, tuple[Tensor, int]],
    graph: bool,
) -> Callable[..., Any]:
    names = CallNames()

    def hook(_module: nn.Module, _args: Any, out: Any) -> Any:
        call = names.next(path)
        found = first_tensor(out)
        if found is None or call not in wanted:
            return None
        leaf = beginning(found, graph=graph)
        captured[call] = leaf, leaf._version
        if call in copied:  # the network goes on with a copy, which it may overwrite
            return replace_first_tensor(out, lambda _: leaf.clone())
        return replace_first_tensor(out, lambda _: leaf)

    return hook


def activations(
    question: Question,
    names: Sequence[str],
    partial: Callable[[list[Tensor], Tiles], Finding] | None = None,
) -> Steps[tuple[list[Tensor], Tiles]]:
    """Record the activation of every named network layer, from one forward pass.

    Parameters
    ----------
    partial
        As of `each_window`.

    Returns
    -------
    list of Tensor
        (1, channels, *layer grid) each.
    Tiles
        Where their cells lie; through windows, of those that hold a place of M.
    """
    return (
        yield from each_window(
            question, lambda part: LayerRecorder(part, names, graph=False).activations, partial
        )
    )


def each_window(
    question: Question,
    run: Callable[[Question], list[Tensor]],
    partial: Callable[[list[Tensor], Tiles], Finding] | None = None,
) -> Steps[tuple[list[Tensor], Tiles]]:
    """Look at the whole image, or through windows at those that hold a place of M.

    Parameters
    ----------
    run
        Question about what the network sees at once -> values (1, channels, *cells), at the cost of a forward pass.
    partial
        What the first windows gave, as it is returned of all -> what can be shown of it; it notes nothing elsewhere.

    Returns
    -------
    list of Tensor
        What `run` returned, of all windows: (1, channels, *cells) each.
    Tiles
        Where their cells lie.
    """
    if question.model.windows is None:
        found = run(question)
        yield question.step("forward pass")
        return found, Tiles()
    tiling = question.model.tiling(question.grid)
    tiles = Tiles(tiling, views_of(tiling, question.pixels))
    yield question.step("forward pass")
    kept: list[list[Tensor]] = []

    def joined(number: int) -> tuple[list[Tensor], Tiles]:
        own = Tiles(tiling, tiles.views[:number])
        return [own.join(values) for values in zip(*kept[:number], strict=True)], own

    def first(number: int) -> Callable[[], Finding] | None:
        if partial is None:
            return None
        return lambda: so_far(tiles, number, partial(*joined(number)))

    for number, view in enumerate(tiles.views, start=1):
        kept.append(run(in_window(question, tiling, view)))
        _check_windows(len(tiles.views), len(tiles.views), kept[0])
        yield question.step(f"window {number} of {len(tiles.views)}", first(number))
    question.executor.note_windows(len(tiles.views))
    return joined(len(kept))
