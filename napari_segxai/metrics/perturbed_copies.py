"""Changed copies of the input, from all metrics and all maps at once, and what the network still makes of them.

Copies with the same key are the same: the network sees them once. Each copy leaves a handful of numbers behind, never
its logits.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.arrays import Box
from napari_segxai.core.progress import Steps
from napari_segxai.engine.masking.baselines import Hide
from napari_segxai.engine.primitives.perturb import stream
from napari_segxai.engine.question import Question
from napari_segxai.engine.scores import dice
from napari_segxai.metrics.functional.faithfulness import Direction, part_sizes
from napari_segxai.metrics.functional.thresholding import box_slices
from napari_segxai.models.preprocessing.resample import resize

NOWHERE = -1e4
"""Logit of what a crop does not show; that of the other labels is 0."""


@dataclass(frozen=True, eq=False)
class Copies:
    """Copies that the network is to see.

    Attributes
    ----------
    key
        Copies of equal key are equal.
    count
        How many.
    make
        (start, n) -> inputs (n, channels, *grid).
    back
        Brings logits (n, labels, *grid) back to where the copy was taken from; not needed without a crop.
    """

    key: Hashable
    count: int
    make: Callable[[int, int], Tensor]
    back: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Responses:
    """What the network makes of copies, each compared with what it makes of the unchanged input; arrays (copies,).

    Attributes
    ----------
    dice, iou
        Of the predicted pixels with the object, in [0, 1].
    probability
        Mean probability of the label over the object.
    preserved
        sum min(P, P') / sum P over the probabilities of the label: how much of them is still there.
    entropy
        Mean entropy over the object of the probabilities of all labels, in nats.
    truth
        Dice of the predicted pixels with the true ones; NaN where no truth was given.
    """

    dice: np.ndarray
    iou: np.ndarray
    probability: np.ndarray
    preserved: np.ndarray
    entropy: np.ndarray
    truth: np.ndarray

    def __add__(self, other: Responses) -> Responses:
        return Responses(*(np.concatenate([getattr(r, f.name) for r in (self, other)]) for f in fields(self)))


class Reader:
    """Reads what became of the object: the pixels of the target that are predicted as its label.

    Other objects of the label, outside the target's region, do not count. `truth`, boolean (*grid), is where the label truly is;
    `ignored`, boolean (*grid), where nobody knows.

    Raises
    ------
    NotDrawn
        If there is no such pixel.
    """

    def __init__(self, question: Question, truth: Tensor | None = None, ignored: Tensor | None = None):
        self.question = question
        self.truth, self.ignored = truth, ignored
        self.object = question.drawn_object()
        others = question.predicted & ~self.object
        self.within = ~others if bool(others.any()) else None
        self.known = self.within if ignored is None else ~(others | ignored)
        self.places = self.object.flatten().nonzero()[:, 0]
        self.own = self._counting(question.model.probability(question.logits, question.label))

    def _counting(self, probability: Tensor) -> Tensor:
        flat = probability.flatten(1)
        return flat if self.within is None else flat * self.within.flatten()

    def read(self, logits: Tensor) -> Tensor:
        """Return the responses of (n, labels, *grid): (6, n), in the order of the fields of `Responses`."""
        model, label = self.question.model, self.question.label
        drawn = self.question.drawn(logits)
        overlap = dice(drawn, self.object, self.within)
        own = self._counting(model.probability(logits, label))
        inside = logits.flatten(2)[:, :, self.places]
        p = model.probabilities(inside)
        if model.card.activation == "sigmoid":  # one label against the rest
            p = torch.stack([p[:, label], 1 - p[:, label]], 1)
        return torch.stack(
            [
                overlap,
                overlap / (2 - overlap),
                own[:, self.places].mean(1),
                torch.minimum(own, self.own).sum(1) / self.own.sum(),
                torch.special.entr(p).sum(1).mean(1),
                overlap * torch.nan if self.truth is None else dice(drawn, self.truth, self.known),
            ]
        )

    @cached_property
    def whole(self) -> Responses:
        """The responses of the unchanged input; no further pass."""
        return _as_responses(self.read(self.question.logits))


def _as_responses(rows: Tensor) -> Responses:
    return Responses(*rows.cpu().double().numpy())


def look(
    reader: Reader, wanted: Sequence[Copies], *, note: str = "changed copy"
) -> Steps[dict[Hashable, Responses]]:
    """Show all copies to the network, in batches that they share, and return what it makes of each key.

    Raises
    ------
    OutOfMemory
        If not even one copy fits.
    """
    (found,) = yield from look_for_all([reader], wanted, note=note)
    return found


Watch = Callable[[Any, int, Tensor], None]
"""(key, position of the first copy among those of the key, logits of copies that follow each other)."""


def look_for_all(
    readers: Sequence[Reader],
    wanted: Sequence[Copies],
    *,
    note: str = "changed copy",
    watch: Watch | None = None,
) -> Steps[list[dict[Hashable, Responses]]]:
    """`look`, for several labels of one input: the network sees every copy once; the passes count for the first.

    `watch` gets the logits of every copy, of which else only numbers are kept.
    """
    question = readers[0].question
    series = list({copies.key: copies for copies in wanted}.values())
    ends = np.cumsum([copies.count for copies in series]).tolist()
    rows: list[Tensor] = []

    def pieces(start: int, n: int) -> list[tuple[Copies, int, int]]:
        out = []
        for copies, end in zip(series, ends, strict=True):
            first = end - copies.count
            low, high = max(start, first), min(start + n, end)
            if low < high:
                out.append((copies, low - first, high - low))
        return out

    def run(start: int, n: int) -> Tensor:
        parts = pieces(start, n)
        logits = question.forward(torch.cat([copies.make(low, count) for copies, low, count in parts]))
        if any(copies.back for copies, _, _ in parts):
            split = logits.split([count for _, _, count in parts])
            logits = torch.cat(
                [c.back(s) if c.back else s for (c, _, _), s in zip(parts, split, strict=True)]
            )
        read = torch.stack([reader.read(logits) for reader in readers])
        if watch is not None:
            for (copies, low, _), own in zip(
                parts, logits.split([count for _, _, count in parts]), strict=True
            ):
                watch(copies.key, low, own)
        return read

    if series:
        yield from stream(question, ends[-1], run, lambda start, result: rows.append(result), note=note)
        split = torch.cat(rows, 2).split([copies.count for copies in series], 2)
        return [
            {copies.key: _as_responses(part[k]) for copies, part in zip(series, split, strict=True)}
            for k in range(len(readers))
        ]
    return [{} for _ in readers]


# -- kinds of copies -----------------------------------------------------------------------------------


def kept(key: Hashable, masks: Tensor, hide: Hide) -> Copies:
    """Return copies of which masks (n, 1, *grid) in [0, 1] are kept and the rest is hidden."""
    return Copies(key, len(masks), lambda start, n: hide(masks[start : start + n]))


def in_order(key: Hashable, ranks: Tensor, counts: Sequence[int], hide: Hide, *, insert: bool) -> Copies:
    """Return copies in which the first pixels by rank are shown (`insert`) or hidden, so many in each.

    Parameters
    ----------
    ranks
        Whole numbers (*grid): 0 for the pixel that comes first.
    """
    steps = torch.tensor(list(counts), device=ranks.device).view(-1, *(1,) * (ranks.ndim + 1))

    def make(start: int, n: int) -> Tensor:
        limits = steps[start : start + n]
        return hide((ranks < limits if insert else ranks >= limits).float())

    return Copies(key, len(counts), make)


def between(key: Hashable, ranks: Tensor, steps: int, hide: Hide, which: Direction) -> Copies:
    """Return the copies of all steps of insertion or deletion but the first and the last."""
    counts = part_sizes(ranks.numel(), steps)[1:-1]
    return in_order(key, ranks, counts, hide, insert=which == "insertion")


def whole_way(reader: Reader, inner: Responses, end: Responses, which: Direction) -> Responses:
    """Put the steps between the empty canvas and the whole image."""
    return end + inner + reader.whole if which == "insertion" else reader.whole + inner + end


def crop(key: Hashable, question: Question, box: Box) -> Copies:
    """Return one copy: a box of the input enlarged to the whole grid."""
    cut, grid = box_slices(box), question.grid

    def make(start: int, n: int) -> Tensor:
        return resize(question.input[(slice(None), slice(None), *cut)], grid, linear=True)

    def back(logits: Tensor) -> Tensor:
        out = torch.zeros_like(logits)
        out[:, question.label] = NOWHERE
        if question.label == 0 and question.model.labeling.thresholds is not None:
            out[:, 1:] = -NOWHERE  # the background is where no label is, whatever its own logit
        shape = tuple(s.stop - s.start for s in cut)
        out[(slice(None), slice(None), *cut)] = resize(logits, shape, linear=True, antialias=True)
        return out

    return Copies(key, 1, make, back)
