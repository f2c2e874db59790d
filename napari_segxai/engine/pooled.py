"""Maps of network layers whose channels are weighted by their mean gradient, also where all windows together are too much to be kept.

Then two sweeps are made: one for the gradients, of which sums alone are held, and one for the activations, which are weighted and put
in their places window by window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from napari_segxai.core.progress import Steps
from napari_segxai.engine import tiles as limits
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.activations import LayerRecorder, Recorded, record
from napari_segxai.engine.primitives.cancellation import CANCELS, noise_of_pooled, pooled_noise
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import Tiles, enlarged, in_window, slopes_of, so_far


class Pooled(NamedTuple):
    """The maps of layers, (*grid) each, or (*cells) without windows; and what has to be said of them."""

    maps: list[Tensor]
    warnings: list[str]


def pooled_maps(
    question: Question,
    names: Sequence[str],
    finding: Callable[[Pooled], Finding],
    score: Callable[[Tensor], Tensor] | None = None,
) -> Steps[Finding]:
    """Return what is found in the sums over channels of the activation of layers, each weighted by its mean gradient over the whole layer.

    Parameters
    ----------
    names
        Network layers.
    finding
        Makes a finding of the maps, of all windows or of those that were run.
    score
        As of `record`.
    """

    def of_recorded(recorded: list[Recorded]) -> Finding:
        weights = [one.tiles.mean(one.gradient)[0] for one in recorded]
        maps = [
            one.tiles.place(_weighted(one.activation, each), adds=False)
            for one, each in zip(recorded, weights, strict=True)
        ]
        return finding(Pooled(maps, pooled_noise(names, weights, [one.gradient for one in recorded])))

    if not _is_too_much(question, names, everywhere=score is not None):
        return of_recorded((yield from record(question, names, score, of_recorded)))
    return (yield from _in_two_sweeps(question, names, finding, score))


def _is_too_much(question: Question, names: Sequence[str], *, everywhere: bool) -> bool:
    """Tell whether activations and gradients of all windows that may count, those of M or any, are more than may be kept."""
    model = question.model
    if model.windows is None:
        return False
    tiling = model.tiling(question.grid)
    windows = len(tiling.corners if everywhere else tiling.touching(question.pixels)) * tiling.rule.views
    numbers = sum(math.prod(model.find_layer(name).shape) for name in names)
    return 2 * 4 * windows * numbers > limits.MOST_BYTES


def _in_two_sweeps(
    question: Question,
    names: Sequence[str],
    finding: Callable[[Pooled], Finding],
    score: Callable[[Tensor], Tensor] | None,
) -> Steps[Finding]:
    slopes, tiles = slopes_of(question, score)
    tiling, count = slopes.tiling, len(tiles.views)
    yield question.step("forward pass")
    totals: list[Tensor] = []
    sizes = [0.0] * len(names)
    for number, view in enumerate(tiles.views, start=1):
        tape = LayerRecorder(in_window(question, tiling, view), names)
        gradients = tape.gradients((tape.logits * slopes.at(view)).sum())
        own = [Tiles(tiling, (view,)).mean(one.double())[0] for one in gradients]
        totals = [a + b for a, b in zip(totals, own, strict=True)] if totals else own
        sizes = [size + float(one.abs().mean()) / count for size, one in zip(sizes, gradients, strict=True)]
        del tape, gradients
        yield question.step(f"gradients, window {number} of {count}")
    weights = [one.float() for one in totals]
    noise = [
        name
        for name, one, size in zip(names, weights, sizes, strict=True)
        if float(one.abs().max()) < CANCELS * size
    ]
    warnings = noise_of_pooled(noise, len(names))
    maps = [torch.zeros(tiling.padded, device=question.device) for _ in names]
    shares, importance = torch.zeros_like(maps[0]), tiling.importance.to(question.device)

    def found(number: int) -> Finding:
        norm = shares.where(shares > 0, 1)
        made = finding(Pooled([(one / norm)[tiling.inner] for one in maps], warnings))
        return so_far(tiles, number, made)

    for number, view in enumerate(tiles.views, start=1):
        tape = LayerRecorder(in_window(question, tiling, view), names, graph=False)
        place = tiling.place(view.corner)
        for map, activation, each in zip(maps, tape.activations, weights, strict=True):
            map[place] += enlarged(_weighted(activation, each), tiling, view) * importance
        shares[place] += importance
        yield question.step(f"window {number} of {count}", lambda number=number: found(number))
    question.executor.note_windows(2 * count, gradients=True)
    return found(count)


def _weighted(activation: Tensor, weights: Tensor) -> Tensor:
    """Sum the channels of (1, channels, *cells) with (channels,) weights: (*cells)."""
    return (weights @ activation[0].flatten(1)).unflatten(0, activation.shape[2:])
