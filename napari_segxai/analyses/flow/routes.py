"""Routes of an information flow: which share of the score comes through each network layer, and across its skip connection.

The relevance of a layer is the sum of A G over its output (`engine.relevance`), as a share of what started at the logits. It adds up:
what enters a join is what leaves it, less what rests on biases. A causal check asks something else, what the prediction loses, and
may find little where much relevance passes, since a network has more than one way: see both.
"""

from __future__ import annotations

from collections.abc import Mapping

from napari_segxai.analyses.flow.result import Flow
from napari_segxai.core.progress import Steps
from napari_segxai.engine.finding import EmptyRegion
from napari_segxai.engine.primitives.relevance_sums import RelevanceSums
from napari_segxai.engine.question import Question
from napari_segxai.engine.relevance.weighted import Rules


def follow_routes(flow: Flow, questions: Mapping[str, Question]) -> Steps[None]:
    """Fill in the relevance of every tile: one forward pass, and one relevance pass per label."""
    first = next(iter(questions.values()))
    names = [layer.name for layer in flow.layers]
    sums = RelevanceSums(first, Rules("composite"), names, routes=True)
    yield first.step("forward pass that carries relevance")
    for label, question in questions.items():
        try:
            found = yield from sums.of(question)
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
            tile.relevance = balance.share(float(found.channels[name].sum()))
            tile.relevance_skip = skips[name]
        flow.notes[label].append(
            f"of the score of {label}, {balance.share(balance.input):.0%} reaches the input as relevance and "
            f"{balance.share(balance.biases):.0%} rests on biases."
        )
        flow.warnings += [f"{label}: {said}" for said in balance.warnings()]
        yield question.step(f"relevance of {label}")
