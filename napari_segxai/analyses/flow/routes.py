"""Routes of an information flow: which share of the score comes through each network layer, and across its skip connection.

The relevance of a layer is the sum of A G over its output (`engine.relevance`), as a share of what started at the logits. It adds up:
what enters a join is what leaves it, less what rests on biases. A causal check asks something else, what the prediction loses, and
may find little where much relevance passes, since a network has more than one way: see both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from napari_segxai.analyses.flow.result import Flow
from napari_segxai.core.progress import Steps
from napari_segxai.engine.finding import EmptyRegion
from napari_segxai.engine.primitives.relevance import RelevanceRecorder, Relevances
from napari_segxai.engine.question import Question
from napari_segxai.engine.relevance.ledger import Balance, summed
from napari_segxai.engine.relevance.weighted import Rules
from napari_segxai.engine.tiles import in_window, slopes_of


def follow_routes(flow: Flow, questions: Mapping[str, Question]) -> Steps[None]:
    """Fill in the relevance of every tile: one forward pass, and one relevance pass per label."""
    first = next(iter(questions.values()))
    names = [layer.name for layer in flow.layers]
    tape: RelevanceRecorder | None = None
    if first.model.windows is None:
        tape = RelevanceRecorder(first, Rules("composite"), names, routes=True)
    yield first.step("forward pass that carries relevance")
    for label, question in questions.items():
        try:
            if tape is None:
                found = yield from _in_windows(question, names)
            else:
                found = _shares(tape.propagate(lambda logits, asked=question: asked.score(logits).sum()))
        except EmptyRegion:  # told already
            continue
        balance = found.balance
        skips = dict.fromkeys(names)
        for source, amount in found.skips.items():
            holder = next((name for name in names if source == name or source.startswith(f"{name}.")), None)
            if holder is not None:
                skips[holder] = (skips[holder] or 0.0) + balance.share(amount)
        for name in names:
            tile = flow.tiles[label, name]
            tile.relevance = balance.share(found.layers[name])
            tile.relevance_skip = skips[name]
        flow.notes[label].append(
            f"of the score of {label}, {balance.share(balance.input):.0%} reaches the input as relevance and "
            f"{balance.share(balance.biases):.0%} rests on biases."
        )
        flow.warnings += [f"{label}: {said}" for said in balance.warnings()]
        yield question.step(f"relevance of {label}")


@dataclass(frozen=True)
class _Routes:
    """Relevance of every layer, summed over its cells; of every skip connection; and where it stays."""

    layers: Mapping[str, float]
    skips: Mapping[str, float]
    balance: Balance


def _shares(found: Relevances) -> _Routes:
    layers = {name: float(one.sum(dtype=torch.float64)) for name, one in found.layers.items()}
    return _Routes(layers, found.skips, found.balance)


def _in_windows(question: Question, names: Sequence[str]) -> Steps[_Routes]:
    """Add up the relevances of all windows on which the score depends."""
    slopes, tiles = slopes_of(question, question.score)
    tiling = slopes.tiling
    layers, skips, balances = dict.fromkeys(names, 0.0), Counter[str](), []
    for number, view in enumerate(tiles.views, start=1):
        tape = RelevanceRecorder(in_window(question, tiling, view), Rules("composite"), names, routes=True)
        begin = slopes.at(view)
        one = _shares(tape.propagate(lambda out, begin=begin: (out * begin).sum(), keep=False))
        for name, amount in one.layers.items():
            layers[name] += amount
        skips.update(one.skips)
        balances.append(one.balance)
        yield question.step(f"relevance in window {number} of {len(tiles.views)}")
    question.executor.note_windows(len(tiles.views), gradients=True)
    return _Routes(layers, dict(skips), summed(balances))
