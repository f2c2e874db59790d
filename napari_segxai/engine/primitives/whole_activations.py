"""What network layers make of the whole image, and their gradients, also where a network sees it through windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from napari_segxai.core.progress import part_done
from napari_segxai.engine.primitives.activations import LayerRecorder
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import Stitched, View, check_memory, in_window, slopes_of, views_of
from napari_segxai.engine.whole_layers import WholeLayer, WholeMeans, whole_cells


def whole_activations(question: Question, names: Sequence[str]) -> list[Tensor]:
    """Return what network layers make of the whole image: (1, channels, *layer grid) each, from one forward pass.

    Through windows, what overlapping ones return is averaged with their weights, on the grid that a layer would have in one pass.
    The logits are found on the way.
    """
    model = question.model
    if model.windows is None:
        return LayerRecorder(question, names, graph=False).activations
    tiling = model.tiling(question.grid)
    views = views_of(tiling, torch.ones(question.grid, dtype=torch.bool))
    layers: list[WholeLayer] = []
    logits = None if question.has_logits else Stitched(question)
    for number, view in enumerate(views, start=1):
        part = in_window(question, tiling, view)
        tape = LayerRecorder(part, names, graph=False)
        if not layers:
            cells = [one.shape[1:2] + whole_cells(tiling, tuple(one.shape[2:])) for one in tape.activations]
            check_memory(sum(map(math.prod, cells)), "of the whole image", "a smaller image")
            layers = [
                WholeLayer(tiling, tuple(one.shape[2:]), one.shape[1], question.device)
                for one in tape.activations
            ]
        for layer, found in zip(layers, tape.activations, strict=True):
            layer.add(view, found)
        if logits is not None:
            logits.add(view, tape.logits)
        part_done(number, len(views))
    question.executor.note_windows(len(views))
    if logits is not None:
        question.remember_logits(logits.logits())
    return [layer.values() for layer in layers]


def whole_means(question: Question, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the mean of every channel of network layers over the whole image: (1, channels) each, from one forward pass.

    These are the means of `whole_activations`, of which no map is held.
    """
    model = question.model
    if model.windows is None:
        found = LayerRecorder(question, names, graph=False).activations
        return {name: one.flatten(2).mean(2) for name, one in zip(names, found, strict=True)}
    tiling = model.tiling(question.grid)
    views = views_of(tiling, torch.ones(question.grid, dtype=torch.bool))
    means: dict[str, WholeMeans] = {}
    for number, view in enumerate(views, start=1):
        found = LayerRecorder(in_window(question, tiling, view), names, graph=False).activations
        for name, one in zip(names, found, strict=True):
            if name not in means:
                cells = tuple(one.shape[2:])
                means[name] = WholeMeans(tiling, cells, one.shape[1], question.device, views)
            means[name].add(view, one)
        part_done(number, len(views))
    question.executor.note_windows(len(views))
    return {name: one.values() for name, one in means.items()}


class WholeLayers:
    """What network layers make of an image, and their gradients for any number of questions about it.

    Parameters
    ----------
    question
        One of the questions.
    names
        Network layers.

    Attributes
    ----------
    activations
        (1, channels, *layer grid) each; see `whole_activations`.
    """

    def __init__(self, question: Question, names: Sequence[str]):
        self.names = names
        self._tape = LayerRecorder(question, names) if question.model.windows is None else None
        self.activations = (
            whole_activations(question, names) if self._tape is None else self._tape.activations
        )

    def each_gradient(
        self, question: Question, take: Callable[[int, Tensor], None], *, keep: bool = False
    ) -> None:
        """Hand the gradient of a question's score by every layer, (1, channels, *layer grid), to `take`.

        Through windows it says what the score gains where the layer is changed at one place in all windows that hold it.

        Parameters
        ----------
        keep
            Whether there will be another question.
        """
        if self._tape is not None:
            self._tape.each_gradient(question.score(self._tape.logits), take, keep=keep)
            return
        slopes, tiles = slopes_of(question)
        tiling = slopes.tiling
        sums: dict[int, WholeLayer] = {}
        for number, view in enumerate(tiles.views, start=1):
            tape = LayerRecorder(in_window(question, tiling, view), self.names)

            def add(k: int, gradient: Tensor, view: View = view) -> None:
                if k not in sums:
                    cells = tuple(gradient.shape[2:])
                    sums[k] = WholeLayer(tiling, cells, gradient.shape[1], question.device, adds=True)
                sums[k].add(view, gradient)

            tape.each_gradient((tape.logits * slopes.at(view)).sum(), add)
            part_done(number, len(tiles.views))
        question.executor.note_windows(len(tiles.views), gradients=True)
        for k, one in sums.items():
            take(k, one.values())
