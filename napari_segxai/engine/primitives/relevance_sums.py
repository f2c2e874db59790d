"""How much relevance comes through network layers and their channels, without where: it adds up over the windows of a network as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from napari_segxai.core.progress import Steps, part_done
from napari_segxai.engine.primitives.relevance import RelevanceRecorder, Relevances
from napari_segxai.engine.question import Question
from napari_segxai.engine.relevance.ledger import Balance, summed
from napari_segxai.engine.relevance.weighted import Rules
from napari_segxai.engine.tiles import in_window, slopes_of
from napari_segxai.engine.whole_layers import WholeLayer


@dataclass(frozen=True)
class Sums:
    """What one pass back found.

    Attributes
    ----------
    channels
        By network layer: relevance of each of its channels, summed over its cells, (channels,) in double precision.
    skips
        By the network layer where it leaves: what a skip connection carried.
    balance
        The ledger.
    """

    channels: Mapping[str, Tensor]
    skips: Mapping[str, float]
    balance: Balance


class RelevanceSums:
    """Relevances of network layers for any number of questions about one image; the network is shown it once, where it has no windows.

    Parameters
    ----------
    first
        One of the questions.
    rules
        Of layers with weights.
    layers
        Network layers.
    routes
        Whether to tell what skip connections carry.
    """

    def __init__(self, first: Question, rules: Rules, layers: Sequence[str], *, routes: bool = False):
        self.rules, self.layers, self.routes = rules, layers, routes
        self._tape: RelevanceRecorder | None = None
        if first.model.windows is None:
            self._tape = RelevanceRecorder(first, rules, layers, routes=routes)

    def of(self, question: Question) -> Steps[Sums]:
        """Carry the score of one question back.

        Raises
        ------
        EmptyRegion
            If there is no pixel to explain.
        """
        if self._tape is not None:
            return _sums(self._tape.propagate(lambda logits: question.score(logits).sum()))
        slopes, tiles = slopes_of(question)
        tiling = slopes.tiling
        channels: dict[str, Tensor] = {}
        skips: Counter[str] = Counter()
        balances = []
        for number, view in enumerate(tiles.views, start=1):
            window = in_window(question, tiling, view)
            tape = RelevanceRecorder(window, self.rules, self.layers, routes=self.routes)
            begin = slopes.at(view)
            one = _sums(tape.propagate(lambda out, begin=begin: (out * begin).sum(), keep=False))
            channels = {name: channels.get(name, 0.0) + own for name, own in one.channels.items()}
            skips.update(one.skips)
            balances.append(one.balance)
            yield question.step(f"relevance in window {number} of {len(tiles.views)}")
        question.executor.note_windows(len(tiles.views), gradients=True)
        return Sums(channels, dict(skips), summed(balances))

    def through(self, question: Question, name: str, groups: Sequence[Sequence[int]]) -> Steps[list[Tensor]]:
        """Carry back what passes through some channels of a layer alone; see `RelevanceRecorder.through`. `of` comes before.

        Parameters
        ----------
        name
            One of the layers.
        groups
            Channels that belong together.

        Returns
        -------
        list of Tensor
            By group the relevance of the input: (1, channels, *grid).
        """
        if self._tape is not None:
            found = []
            for number, group in enumerate(groups, start=1):
                found.append(self._tape.through(name, group).input)
                yield question.step(f"through {name}: {number} of {len(groups)}")
            return found
        slopes, tiles = slopes_of(question)
        tiling = slopes.tiling
        totals = [torch.zeros_like(tiling.pad(question.input)) for _ in groups]
        for number, view in enumerate(tiles.views, start=1):
            window = in_window(question, tiling, view)
            tape = RelevanceRecorder(window, self.rules, [name])
            begin = slopes.at(view)
            tape.propagate(lambda out, begin=begin: (out * begin).sum())
            for total, group in zip(totals, groups, strict=True):
                total[(..., *tiling.place(view.corner))] += tape.through(name, group).input.flip(view.axes)
            passes = window.passes
            question.executor.note_windows(
                1, forwards=passes.forward, suffix=passes.suffix, gradients=True, more=number > 1
            )
            yield question.step(f"through {name}: window {number} of {len(tiles.views)}")
        return [tiling.unpad(total) for total in totals]


class OfLayer(NamedTuple):
    """Relevance and activation of channels of a layer, (channels, *layer grid) each, and the ledger."""

    relevance: Tensor
    activation: Tensor
    balance: Balance


class RelevanceOfLayer:
    """Relevance and activation of some channels of one layer, on its grid over the whole image.

    The network is shown the image once; where it has no windows, that is done when this is made.
    """

    def __init__(self, question: Question, rules: Rules, name: str, channels: Sequence[int]):
        self.question, self.rules, self.name, self.channels = question, rules, name, list(channels)
        whole = question.model.windows is None
        self._tape = RelevanceRecorder(question, rules, [name]) if whole else None

    def propagate(self) -> OfLayer:
        """Carry the target's score back.

        Raises
        ------
        EmptyRegion
            If there is no pixel to explain.
        """
        question = self.question
        if self._tape is not None:
            return self._read(self._tape, question.score)
        slopes, tiles = slopes_of(question)
        tiling, balances = slopes.tiling, []
        both: list[WholeLayer] = []
        for number, view in enumerate(tiles.views, start=1):
            tape = RelevanceRecorder(in_window(question, tiling, view), self.rules, [self.name])
            begin = slopes.at(view)
            own = self._read(tape, lambda out, begin=begin: (out * begin).sum())
            if not both:
                cells, many = tuple(own.relevance.shape[1:]), len(self.channels)
                both = [WholeLayer(tiling, cells, many, question.device, adds=adds) for adds in (True, False)]
            both[0].add(view, own.relevance[None])
            both[1].add(view, own.activation[None])
            balances.append(own.balance)
            part_done(number, len(tiles.views))
        question.executor.note_windows(len(tiles.views), gradients=True)
        relevance, activation = (layer.values()[0] for layer in both)
        return OfLayer(relevance, activation, summed(balances))

    def _read(self, tape: RelevanceRecorder, score: Callable[[Tensor], Tensor]) -> OfLayer:
        found = tape.propagate(lambda logits: score(logits).sum(), keep=False)
        relevance, activation = found.layers[self.name][0], tape.activation(self.name)[0]
        return OfLayer(relevance[self.channels], activation[self.channels], found.balance)


def _sums(found: Relevances) -> Sums:
    channels = {name: one[0].flatten(1).sum(1, dtype=torch.float64) for name, one in found.layers.items()}
    return Sums(channels, found.skips, found.balance)
