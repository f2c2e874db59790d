"""Tiles of an information flow of a network that sees the image through windows.

Each window on which the label depends is recorded by itself. Contributions to the score add up where windows overlap; channels are
weighted by their gradients in all windows. A map is put together on the model grid and then brought to the resolution that the
layer would have there. How well the features of a layer separate the object (segmentation ability) is not told: it would take the
activations of all layers of the whole image at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from napari_segxai.analyses.flow.plan import METHODS
from napari_segxai.analyses.flow.result import Flow
from napari_segxai.analyses.flow.tiles import Tile
from napari_segxai.core.progress import Steps
from napari_segxai.engine.finding import EmptyRegion
from napari_segxai.engine.primitives.activations import LayerRecorder
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import in_window, slopes_of
from napari_segxai.engine.whole_layers import whole_cells
from napari_segxai.methods.activation import grad_pam
from napari_segxai.methods.activation.seg_grad_cam import weighted_sum
from napari_segxai.metrics.functional.layer_maps import NUMBERS, describe, shares
from napari_segxai.models.introspection.layers import NetworkLayer

POOLED = "seg-grad-cam"
"""The method whose channels are weighted over the whole layer; the maps of the others are contributions."""


def whole_layer(layer: NetworkLayer, question: Question) -> NetworkLayer:
    """Return a layer with the shape that it would have on the whole grid."""
    cells = whole_cells(question.model.tiling(question.grid), tuple(layer.shape[1:]))
    return replace(layer, shape=(layer.shape[0], *cells))


def label_in_windows(
    flow: Flow, question: Question, truth: Tensor | None, known: Tensor | None = None
) -> Steps[None]:
    """Fill in the tiles of one label; passes counted and reported. `known`, boolean (*grid), is where the truth is known; everywhere by default."""
    label = question.model.labels[question.label]
    found = _Found(flow, question)
    try:
        pixels = question.pixels
    except EmptyRegion as reason:
        flow.warnings.append(str(reason))
    else:
        if flow.method == "grad-pam":
            places = grad_pam.sample(pixels, flow.options.pixels)
            for number, place in enumerate(places, start=1):
                note = f"{label}, pixel {number} of {len(places)}"
                yield from found.add(lambda logits, at=place: question.scores(logits)[0].flatten()[at], note)
            found.divide(len(places))
        else:
            yield from found.add(question.score, label)
    nothing = torch.full((), float("nan"), device=question.device)
    for k, layer in enumerate(flow.layers):
        shape = tuple(layer.shape[1:])
        true = None if truth is None else shares(truth, shape)
        numbers = describe(
            found.maps[k],
            found.gradients[k],
            found.activations[k],
            nothing,
            shares(question.predicted, shape),
            true,
            None if known is None else shares(known, shape),
        )
        by_name: dict[str, Any] = dict(zip(NUMBERS, numbers.tolist(), strict=True))
        if truth is None:
            by_name["dice_truth"] = None
        flow.tiles[label, layer.name] = Tile(label, layer, found.maps[k].float().cpu().numpy(), **by_name)


class _Found:
    """What is found of one label in the windows.

    Attributes
    ----------
    maps
        Of every layer: (*cells of the whole layer).
    gradients, activations
        Of every layer: mean absolute value, of gradients over the whole layer, of activations over the windows that were looked at.
    """

    def __init__(self, flow: Flow, question: Question):
        self.flow, self.question = flow, question
        self.maps = [torch.zeros(layer.shape[1:], device=question.device) for layer in flow.layers]
        self.gradients = [torch.zeros((), device=question.device) for _ in flow.layers]
        self.activations = [torch.zeros((), device=question.device) for _ in flow.layers]

    def divide(self, count: int) -> None:
        """Make means of what was added `count` times."""
        for values in (*self.maps, *self.gradients, *self.activations):
            values /= count

    def add(self, score: Callable[[Tensor], Tensor], note: str) -> Steps[None]:
        """Add the maps of one score."""
        flow, question = self.flow, self.question
        names, combine = [layer.name for layer in flow.layers], METHODS[flow.method]
        slopes, tiles = slopes_of(question, score)
        tiling = slopes.tiling
        looks: list[list[Tensor]] = [[] for _ in names]
        sums: list[Tensor | float] = [0.0 for _ in names]
        for number, view in enumerate(tiles.views, start=1):
            tape = LayerRecorder(in_window(question, tiling, view), names)

            def take(k: int, gradient: Tensor, tape: LayerRecorder = tape) -> None:
                activation = tape.activations[k]
                whole = gradient.numel() / tiling.rule.cells * math.prod(tiling.padded)
                self.gradients[k] += torch.linalg.vector_norm(gradient, 1) / whole
                self.activations[k] += activation.abs().mean() / len(tiles.views)
                if flow.method == POOLED:
                    sums[k] = sums[k] + gradient.flatten(2).sum(2)[0] / (whole / gradient.shape[1])
                else:
                    one = "before ReLU" if flow.method == "grad-pam" else None
                    options = flow.options if one is None else replace(flow.options, aggregate=one)
                    looks[k].append(combine(activation, gradient, options))

            tape.each_gradient((tape.logits * slopes.at(view)).sum(), take)
            yield question.step(f"{note}: window {number} of {len(tiles.views)}")
        question.executor.note_windows(len(tiles.views), gradients=True)
        if flow.method == POOLED:
            for number, view in enumerate(tiles.views, start=1):
                tape = LayerRecorder(in_window(question, tiling, view), names, graph=False)
                for k, activation in enumerate(tape.activations):
                    looks[k].append(weighted_sum(activation, torch.as_tensor(sums[k])))
                yield question.step(f"{note}: weighting window {number} of {len(tiles.views)}")
            question.executor.note_windows(len(tiles.views))
        for k, found in enumerate(looks):
            if not found:
                continue
            placed = tiles.place(torch.cat(found), adds=flow.method != POOLED)
            if flow.method == "grad-pam" and flow.options.aggregate == "after ReLU":
                placed = placed.clamp(min=0)
            self.maps[k] += shares(placed, tuple(self.maps[k].shape))
