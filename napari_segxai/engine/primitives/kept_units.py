"""The network with some units of a layer alone: what later layers, and the prediction, still are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from napari_segxai.core.progress import part_done
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import Stitched, in_window, views_of
from napari_segxai.engine.whole_layers import WholeLayer
from napari_segxai.models.inference.memory import guarded
from napari_segxai.models.introspection.call_names import CallNames, module_of
from napari_segxai.models.introspection.layers import not_run, token_stride
from napari_segxai.models.introspection.layout import Layout, infer_layout
from napari_segxai.models.introspection.modules import find_module, first_tensor, replace_first_tensor


def keep_units(
    question: Question, name: str, units: Tensor, watch: Sequence[str], whole: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Run the network with a layer's other units filled by their means, which tell nothing of where; one forward pass.

    Parameters
    ----------
    name
        The network layer.
    units
        Boolean (channels,): which are kept.
    watch
        Further network layers.
    whole
        What the layer makes of the whole image, of which the means are taken: (1, channels, *cells).

    Returns
    -------
    logits
        (1, labels, *grid).
    maps
        What each of `watch` returned then: (1, channels, *cells); through windows as `whole_activations` does it.
    """
    means = whole.mean(tuple(range(2, whole.ndim)), keepdim=True)
    if question.model.windows is None:
        return _keep(question, name, units, watch, means)
    tiling = question.model.tiling(question.grid)
    views = views_of(tiling, torch.ones(question.grid, dtype=torch.bool))
    logits, layers = Stitched(question), dict[str, WholeLayer]()
    for number, view in enumerate(views, start=1):
        returned, maps = _keep(in_window(question, tiling, view), name, units, watch, means)
        logits.add(view, returned)
        for other, found in zip(watch, maps, strict=True):
            if other not in layers:
                layers[other] = WholeLayer(tiling, tuple(found.shape[2:]), found.shape[1], question.device)
            layers[other].add(view, found)
        part_done(number, len(views))
    question.executor.note_windows(len(views))
    return logits.logits(), [layers[other].values() for other in watch]


def _keep(
    question: Question, name: str, units: Tensor, watch: Sequence[str], means: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Run the network once on what it sees at once."""
    model = question.model
    running = CallNames()
    found: dict[str, Tensor] = {}

    def layout_of(call: str, value: Tensor) -> Layout:
        layout = infer_layout(tuple(value.shape), question.grid, token_stride(call, model.card.tokens))
        assert layout is not None  # it has been recorded before
        return layout

    def listen(path: str) -> Any:
        def hook(_module: nn.Module, _args: Any, out: Any) -> Any:
            call = running.next(path)
            value = first_tensor(out)
            if value is None or call not in (name, *watch):
                return None
            maps = layout_of(call, value).to_maps(value)
            if call == name:
                maps = torch.where(units.view(1, -1, *(1,) * (maps.ndim - 2)), maps, means)
            found[call] = maps.clone()
            if call != name:
                return None
            changed = layout_of(call, value).from_maps(maps.contiguous(), value)
            return replace_first_tensor(out, lambda _: changed)

        return hook

    paths = dict.fromkeys(module_of(call) for call in (name, *watch))
    handles = [find_module(model.module, path).register_forward_hook(listen(path)) for path in paths]
    try:
        with torch.inference_mode(), guarded(question.device):
            logits = question.forward(question.input)
    finally:
        for handle in handles:
            handle.remove()
    if missing := [call for call in (name, *watch) if call not in found]:
        raise not_run(model.name, missing[0])
    return logits, [found[call] for call in watch]
