"""Maps of network layers made of sums over the whole layer, also where all windows together are too much to be kept.

Then the windows are gone over several times: once for each kind of sums, and once for the map, whose parts are put in their places window by
window. What is the mean of a channel's gradient, or a covariance of channels, needs no more memory than a window and a map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from napari_segxai.core.progress import Steps
from napari_segxai.engine import tiles as limits
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.activations import LayerRecorder, Recorded, activations, record
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import Slopes, Tiles, View, enlarged, in_window, slopes_of, so_far, views_of

Sums = tuple[Tensor, ...]


class Stage(NamedTuple):
    """Sums over all cells of a layer.

    Attributes
    ----------
    of
        What was recorded of a layer, at some cells of it, and the sums of the stages before -> the sums over these cells. The gradient is
        empty where none is needed.
    gradients
        Whether it reads the gradient.
    """

    of: Callable[[Recorded, Sums], Sums]
    gradients: bool = True


@dataclass(frozen=True)
class Pooling:
    """How a map is made of sums over the whole layer.

    Attributes
    ----------
    stages
        The sums, each of which may use those before it.
    map
        All sums -> a function of what was recorded at some cells, which returns the map there: (*cells).
    gradients
        Whether `map` reads the gradient.
    adds
        Whether its values are contributions, which add up where windows overlap; else they are averaged.
    said
        Names of the layers, and all sums of each -> what a user should know.
    """

    stages: Sequence[Stage]
    map: Callable[[Sums], Callable[[Recorded], Tensor]]
    gradients: bool = False
    adds: bool = False
    said: Callable[[Sequence[str], Sequence[Sums]], list[str]] = lambda names, sums: []

    @property
    def sweeps(self) -> list[bool]:
        """Whether each sweep over the windows takes gradients."""
        return [*(stage.gradients for stage in self.stages), self.gradients]


class Pooled(NamedTuple):
    """The maps of layers, (*grid) each, or (*cells) without windows; and what has to be said of them."""

    maps: list[Tensor]
    warnings: list[str]


def pooled_maps(
    question: Question,
    names: Sequence[str],
    pooling: Pooling,
    finding: Callable[[Pooled], Finding],
    score: Callable[[Tensor], Tensor] | None = None,
) -> Steps[Finding]:
    """Return what is found in the maps of layers that are made of sums over the whole layer.

    Parameters
    ----------
    names
        Network layers.
    pooling
        What is summed, and the map.
    finding
        Makes a finding of the maps, of all windows or of those that were run.
    score
        As of `record`.
    """

    def of_recorded(recorded: list[Recorded]) -> Finding:
        maps, found = [], []
        for one in recorded:
            sums: Sums = ()
            for stage in pooling.stages:
                sums += stage.of(one, sums)
            maps.append(one.tiles.place(pooling.map(sums)(one), adds=pooling.adds))
            found.append(sums)
        return finding(Pooled(maps, pooling.said(names, found)))

    if _is_too_much(question, names, everywhere=score is not None):
        return (yield from _in_sweeps(question, names, pooling, finding, score))
    if any(pooling.sweeps):
        return of_recorded((yield from record(question, names, score, of_recorded)))

    def of_activations(found: list[Tensor], tiles: Tiles) -> Finding:
        return of_recorded([Recorded(one, NO_GRADIENT, tiles) for one in found])

    return of_activations(*(yield from activations(question, names, of_activations)))


NO_GRADIENT = torch.empty(0)
"""In place of a gradient that nobody reads."""


def _is_too_much(question: Question, names: Sequence[str], *, everywhere: bool) -> bool:
    """Tell whether activations and gradients of all windows that may count, those of M or any, are more than may be kept."""
    model = question.model
    if model.windows is None:
        return False
    tiling = model.tiling(question.grid)
    windows = len(tiling.corners if everywhere else tiling.touching(question.pixels)) * tiling.rule.views
    numbers = sum(math.prod(model.find_layer(name).shape) for name in names)
    return 2 * 4 * windows * numbers > limits.MOST_BYTES


def _in_sweeps(
    question: Question,
    names: Sequence[str],
    pooling: Pooling,
    finding: Callable[[Pooled], Finding],
    score: Callable[[Tensor], Tensor] | None,
) -> Steps[Finding]:
    tiling = question.model.tiling(question.grid)
    slopes = None
    if any(pooling.sweeps):
        slopes, tiles = slopes_of(question, score)
    else:
        tiles = Tiles(tiling, views_of(tiling, question.pixels))
    count = len(tiles.views)
    yield question.step("forward pass")
    sums: list[Sums] = [() for _ in names]
    for number, stage in enumerate(pooling.stages, start=1):
        totals: list[Sums] = []
        for k, view in enumerate(tiles.views, start=1):
            looks = _look(question, names, tiles, view, slopes if stage.gradients else None)
            own = [stage.of(one, known) for one, known in zip(looks, sums, strict=True)]
            totals = [_added(*pair) for pair in zip(totals, own, strict=True)] if totals else own
            del looks
            yield question.step(f"sums {number} of {len(pooling.stages)}, window {k} of {count}")
        sums = [known + more for known, more in zip(sums, totals, strict=True)]
    warnings, parts = pooling.said(names, sums), [pooling.map(one) for one in sums]
    maps = [torch.zeros(tiling.padded, device=question.device) for _ in names]
    shares, importance = torch.zeros_like(maps[0]), tiling.importance.to(question.device)
    if pooling.adds:
        importance = torch.ones_like(importance)

    def found(number: int) -> Finding:
        norm = shares.where(shares > 0, 1) if not pooling.adds else torch.ones_like(shares)
        made = finding(Pooled([(one / norm)[tiling.inner] for one in maps], warnings))
        return so_far(tiles, number, made)

    for number, view in enumerate(tiles.views, start=1):
        place = tiling.place(view.corner)
        looks = _look(question, names, tiles, view, slopes if pooling.gradients else None)
        added = [
            enlarged(part(one), tiling, view) * importance for part, one in zip(parts, looks, strict=True)
        ]
        for map, one in zip(maps, added, strict=True):  # all or none, should memory run out
            map[place] += one
        shares[place] += importance
        del looks, added
        yield question.step(f"window {number} of {count}", lambda number=number: found(number))
    for number, gradients in enumerate(pooling.sweeps):
        question.executor.note_windows(count, gradients=gradients, more=number > 0)
    return found(count)


def _look(
    question: Question, names: Sequence[str], tiles: Tiles, view: View, slopes: Slopes | None
) -> list[Recorded]:
    """Record layers at one look at a window; with gradients where their beginning is given."""
    assert tiles.tiling is not None
    tape = LayerRecorder(in_window(question, tiles.tiling, view), names, graph=slopes is not None)
    gradients = [NO_GRADIENT] * len(names)
    if slopes is not None:
        gradients = tape.gradients((tape.logits * slopes.at(view)).sum())
    own = tiles.alone(view)
    return [Recorded(a, g, own) for a, g in zip(tape.activations, gradients, strict=True)]


def _added(one: Sums, other: Sums) -> Sums:
    return tuple(a + b for a, b in zip(one, other, strict=True))
