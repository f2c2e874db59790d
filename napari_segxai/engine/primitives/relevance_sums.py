"""How much relevance comes through network layers and their channels, without where: it adds up over the windows of a network as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_segxai.core.progress import Steps
from napari_segxai.engine.primitives.relevance import RelevanceRecorder, Relevances
from napari_segxai.engine.question import Question
from napari_segxai.engine.relevance.ledger import Balance, summed
from napari_segxai.engine.relevance.weighted import Rules
from napari_segxai.engine.tiles import in_window, slopes_of


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
        slopes, tiles = slopes_of(question, question.score)
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


def _sums(found: Relevances) -> Sums:
    channels = {name: one[0].flatten(1).sum(1, dtype=torch.float64) for name, one in found.layers.items()}
    return Sums(channels, found.skips, found.balance)
