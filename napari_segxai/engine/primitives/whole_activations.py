"""What network layers make of the whole image, and their gradients, also where a network sees it through windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import part_done
from napari_segxai.engine import tiles as limits
from napari_segxai.engine.primitives.activations import LayerRecorder
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import Stitched, View, check_memory, in_window, slopes_of, views_of
from napari_segxai.engine.whole_layers import WholeLayer, WholeMeans, whole_cells
from napari_segxai.models.windows.tiling import Tiling

Take = Callable[[int, slice, Tensor], None]
"""Is handed the number of a layer, which of its channels, and their values: (1, those channels, *layer grid)."""


def whole_activations(question: Question, names: Sequence[str]) -> list[Tensor]:
    """Return what network layers make of the whole image: (1, channels, *layer grid) each, from one forward pass.

    Through windows, what overlapping ones return is averaged with their weights, on the grid that a layer would have in one pass.
    The logits are found on the way.

    Raises
    ------
    UserError
        If they take too much memory together; `each_block` holds a part of them at a time.
    """
    if question.model.windows is not None:
        tiling = question.model.tiling(question.grid)
        numbers = sum(math.prod(_whole_shape(question, tiling, name)) for name in names)
        check_memory(numbers, "of the whole image", "fewer network layers, or a smaller image")
    found: dict[int, Tensor] = {}
    each_block(question, names, lambda k, channels, values: found.__setitem__(k, values))
    return [found[k] for k in range(len(names))]


def each_block(
    question: Question, names: Sequence[str], take: Take, *, finite: bool = False, whole: bool = False
) -> None:
    """Hand what network layers make of the whole image to `take`, as many channels at a time as may be held; see `whole_activations`.

    Through windows, where that is not all of them, the windows are gone over several times.

    Parameters
    ----------
    finite
        Whether every value has to be finite: that is looked at before anything is handed over.
    whole
        Whether all channels of a layer are needed at once.

    Raises
    ------
    UserError
        If a value is not finite, or if one layer takes too much memory where it is needed as a whole.
    """
    if question.model.windows is None:
        found = LayerRecorder(question, names, graph=False).activations
        _check_finite(names, found if finite else ())
        for k, one in enumerate(found):
            take(k, slice(0, one.shape[1]), one)
        return
    tiling = question.model.tiling(question.grid)
    views = views_of(tiling, torch.ones(question.grid, dtype=torch.bool))
    sweeps = _sweeps(question, tiling, names, whole=whole)
    for number, blocks in enumerate(sweeps):
        logits = None if question.has_logits else Stitched(question)
        kept: list[WholeLayer] = []
        looks = finite and number == 0  # at all of them, also at those that come later
        own = names if looks else list(dict.fromkeys(names[one.layer] for one in blocks))
        for k, view in enumerate(views, start=1):
            tape = LayerRecorder(in_window(question, tiling, view), own, graph=False)
            _check_finite(own, tape.activations if looks else ())
            seen = dict(zip(own, tape.activations, strict=True))
            _add(kept, tiling, view, [seen[names[one.layer]][:, one.channels] for one in blocks], adds=False)
            if logits is not None:
                logits.add(view, tape.logits)
            part_done(number * len(views) + k, len(sweeps) * len(views))
        question.executor.note_windows(len(views))
        if logits is not None:
            question.remember_logits(logits.logits())
        _hand(kept, blocks, take)


def _check_finite(names: Sequence[str], values: Sequence[Tensor]) -> None:
    for name, one in zip(names, values, strict=False):
        if not bool(one.isfinite().all()):
            raise UserError(f"network layer {name} returns values that are not finite.")


class _Block(NamedTuple):
    """Some channels of a layer."""

    layer: int
    channels: slice


def _whole_shape(question: Question, tiling: Tiling, name: str) -> tuple[int, ...]:
    channels, *cells = question.model.find_layer(name).shape
    return channels, *whole_cells(tiling, tuple(cells))


def _sweeps(
    question: Question, tiling: Tiling, names: Sequence[str], *, whole: bool = False
) -> list[list[_Block]]:
    """Divide the channels of layers into what may be held at a time, every channel or every layer in one piece."""
    out: list[list[_Block]] = [[]]
    room = limits.MOST_BYTES
    for k, name in enumerate(names):
        channels, *cells = _whole_shape(question, tiling, name)
        size, first = 4 * math.prod(cells), 0
        if whole:
            check_memory(channels * math.prod(cells), "of the whole image", "a smaller image")
        while first < channels:
            if room < size * (channels if whole else 1) and out[-1]:
                out.append([])
                room = limits.MOST_BYTES
            many = channels if whole else max(1, min(channels - first, room // size))
            out[-1].append(_Block(k, slice(first, first + many)))
            first, room = first + many, room - many * size
    return out


def _add(kept: list[WholeLayer], tiling: Tiling, view: View, values: Sequence[Tensor], *, adds: bool) -> None:
    """Add what some channels of layers returned at one look; what they are put together in is made at the first one."""
    if not kept:
        kept += [
            WholeLayer(tiling, tuple(one.shape[2:]), one.shape[1], one.device, adds=adds) for one in values
        ]
    for layer, one in zip(kept, values, strict=True):
        layer.add(view, one)


def _hand(kept: list[WholeLayer], blocks: Sequence[_Block], take: Take) -> None:
    """Hand over what was put together, and let go of it."""
    for block in blocks:
        take(block.layer, block.channels, kept.pop(0).values())


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
    """

    def __init__(self, question: Question, names: Sequence[str]):
        self.question, self.names = question, names
        self._tape = LayerRecorder(question, names) if question.model.windows is None else None

    def each(self, take: Take) -> None:
        """Hand the activations, finite ones, to `take`; see `each_block`."""
        if self._tape is None:
            each_block(self.question, self.names, take, finite=True)
            return
        _check_finite(self.names, self._tape.activations)
        for k, one in enumerate(self._tape.activations):
            take(k, slice(0, one.shape[1]), one)

    def each_gradient(self, question: Question, take: Take, *, keep: bool = False) -> None:
        """Hand the gradient of a question's score by every layer to `take`, as many channels at a time as may be held.

        Through windows it says what the score gains where the layer is changed at one place in all windows that hold it.

        Parameters
        ----------
        keep
            Whether there will be another question.
        """
        if self._tape is not None:
            whole = lambda k, gradient: take(k, slice(0, gradient.shape[1]), gradient)  # noqa: E731
            self._tape.each_gradient(question.score(self._tape.logits), whole, keep=keep)
            return
        slopes, tiles = slopes_of(question)
        tiling = slopes.tiling
        sweeps = _sweeps(question, tiling, self.names)
        for number, blocks in enumerate(sweeps):
            kept: list[WholeLayer] = []
            own = list(dict.fromkeys(self.names[one.layer] for one in blocks))
            for n, view in enumerate(tiles.views, start=1):
                tape = LayerRecorder(in_window(question, tiling, view), own)
                found = tape.gradients((tape.logits * slopes.at(view)).sum())
                seen = dict(zip(own, found, strict=True))
                values = [seen[self.names[one.layer]][:, one.channels] for one in blocks]
                _add(kept, tiling, view, values, adds=True)
                part_done(number * len(tiles.views) + n, len(sweeps) * len(tiles.views))
            question.executor.note_windows(len(tiles.views), gradients=True)
            _hand(kept, blocks, take)
