"""Ablation: what a prediction loses without a network layer.

Mean ablation fills the layer's output with its channel means over the whole image, so that it tells nothing of where; zero ablation fills it
with zeros, so that it tells nothing at all. Zeros may be far from anything that the next layer has seen; means may by
themselves draw a label everywhere.

For a layer of the encoder, its skip connection can be filled alone: the network runs with the filled output, but
everything deeper, down to the bottleneck, answers with what it returned for the true one. What is lost then was
carried past the bottleneck.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from napari_segxai.core.progress import Step, Steps, relay
from napari_segxai.engine.primitives.layer_replay import Stubs, happening, has_ancestor, keep_outputs
from napari_segxai.engine.primitives.whole_activations import whole_means
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import Stitched, View, in_window, views_of
from napari_segxai.models.inference.memory import guarded
from napari_segxai.models.introspection.call_names import split_call
from napari_segxai.models.introspection.layers import NetworkLayer, not_run, token_stride
from napari_segxai.models.introspection.layout import infer_layout
from napari_segxai.models.introspection.modules import (
    find_module,
    first_tensor,
    map_tensors,
    replace_first_tensor,
)
from napari_segxai.models.introspection.trace import Call

Filling = Literal["mean", "zero"]
"""What a layer's output is filled with: its channel means, or zeros."""


def ablations(
    question: Question,
    layers: Sequence[NetworkLayer],
    filling: Filling,
    take: Callable[[str, Tensor, Tensor | None], None],
) -> Steps[None]:
    """Run the network without each layer's output, and without its skip connection alone.

    One forward pass for all, then one or two per layer; through windows, one more per layer, and one for the means.

    Parameters
    ----------
    take
        Called with the name of each layer and the logits (1, labels, *grid) of both; the second are None where nothing deeper than
        the layer precedes the bottleneck.
    """
    if question.model.windows is not None:
        means = whole_means(question, [layer.name for layer in layers]) if filling == "mean" else {}
        yield question.step("means of the layers")
        for layer in layers:
            yield from _in_windows(question, layer, filling, means.get(layer.name), take)
        return
    yield from _ablate(question, layers, filling, None, take, question.step)


def _in_windows(
    question: Question,
    layer: NetworkLayer,
    filling: Filling,
    means: Tensor | None,
    take: Callable[[str, Tensor, Tensor | None], None],
) -> Steps[None]:
    """Take one layer away in every window, and put together what is left."""
    tiling = question.model.tiling(question.grid)
    views = views_of(tiling, torch.ones(question.grid, dtype=torch.bool))
    sums: dict[int, Stitched] = {}
    forwards = 0

    for number, view in enumerate(views, start=1):

        def add(name: str, *outputs: Tensor | None, view: View = view) -> None:
            for k, one in enumerate(outputs):
                if one is not None:
                    if k not in sums:
                        sums[k] = Stitched(question)
                    sums[k].add(view, one)

        part = in_window(question, tiling, view)
        steps = _ablate(part, [layer], filling, means, add, question.step)
        yield from relay(
            steps, lambda step, n=number: replace(step, note=f"{step.note}: window {n} of {len(views)}")
        )
        forwards = part.passes.forward
    question.executor.note_windows(len(views), forwards=forwards)
    take(layer.name, sums[0].logits(), sums[1].logits() if 1 in sums else None)


def _ablate(
    question: Question,
    layers: Sequence[NetworkLayer],
    filling: Filling,
    means: Tensor | None,
    take: Callable[[str, Tensor, Tensor | None], None],
    step: Callable[[str], Step],
) -> Steps[None]:
    model = question.model
    calls = model.example_calls
    deeper = {layer.name: _deeper(calls, layer.name, model.roles.bottlenecks) for layer in layers}
    names = {k: calls[k].name for found in deeper.values() for k in found}
    with torch.inference_mode(), guarded(question.device):
        logits, kept = keep_outputs(question, names, {k for k in names if calls[k].overwritten})
        question.remember_logits(logits.clone())
    if missing := [name for k, name in names.items() if k not in kept]:
        raise not_run(model.name, missing[0])
    yield step("forward pass")
    for layer in layers:
        whole = _filled(question, layer.name, calls, {}, filling, means)
        yield step(f"without {layer.name}")
        skip = None
        if deeper[layer.name]:
            skip = _filled(
                question, layer.name, calls, {k: kept[k] for k in deeper[layer.name]}, filling, means
            )
            yield step(f"without the skip of {layer.name}")
        take(layer.name, whole, skip)


def _deeper(calls: Sequence[Call], name: str, bottlenecks: Sequence[str]) -> list[int]:
    """Return the outermost calls between a layer and the next bottleneck, it included, with smaller maps than the layer.

    In a cascade of networks the next bottleneck is that of the layer's own stage.
    """
    own = next(call for call in calls if call.name == name)
    after = [call for call in calls if call.name in bottlenecks and call.end > own.end]
    if not after:
        return []
    last = min(after, key=lambda call: call.end)
    found = {
        k
        for k, call in enumerate(calls)
        if call.start > own.end
        and call.end <= last.end
        and call.shape is not None
        and _cells(call) < _cells(own)
    }
    return [k for k in sorted(found) if not has_ancestor(calls, k, found)]


def _cells(call: Call) -> int:
    assert call.shape is not None
    if len(call.shape) == 3:  # tokens
        return call.shape[0] * call.shape[1]
    return int(torch.Size(call.shape[2:]).numel())


def _filled(
    question: Question,
    name: str,
    calls: Sequence[Call],
    answers: dict[int, Any],
    filling: Filling,
    means: Tensor | None,
) -> Tensor:
    """Run the network with a layer's output filled by its channel means, or zeros; calls in `answers` return those.

    The means are those of what the network sees, unless others are given: (1, channels).
    """
    model = question.model
    path, number = split_call(name)
    count = 0

    def hook(_module: nn.Module, _args: Any, out: Any) -> Any:
        nonlocal count
        count += 1
        if count != number:
            return None
        found = first_tensor(out)
        assert found is not None  # it is a network layer: it returns a map
        layout = infer_layout(tuple(found.shape), question.grid, token_stride(name, model.card.tokens))
        assert layout is not None
        maps = layout.to_maps(found)
        mean = maps.flatten(2).mean(2) if means is None else means.to(maps)
        filled = mean.view(*mean.shape, *(1,) * (maps.ndim - 2)).expand_as(maps).contiguous()
        filled = torch.zeros_like(filled) if filling == "zero" else filled
        return replace_first_tensor(out, lambda _: layout.from_maps(filled, found))

    handle = find_module(model.module, path).register_forward_hook(hook)
    names = {k: calls[k].name for k in answers}
    answer = lambda k: map_tensors(answers[k], Tensor.clone)  # noqa: E731
    try:
        stubs = Stubs(model.module, names, happening(calls, set(answers)), answer)
        with stubs, torch.inference_mode(), guarded(question.device):
            logits = question.forward(question.input)
    finally:
        handle.remove()
    if count < number:
        raise not_run(model.name, name)
    return logits
