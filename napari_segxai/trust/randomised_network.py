"""Randomised network: does the map change when the network forgets what it has learnt?

The weights are made random layer by layer, cascading from the output to the input, and each layer alone; the map is
made again each time, about the same pixels. A map that stays the same with all weights random shows the image, not the
network: an edge filter would do. The number is the mean, over several random networks, of the size of the rank
correlation with the map; its sign does not count, since a map turned inside out looks the same.

Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_segxai.engine.passes import Passes, Steps
from napari_segxai.options import option
from napari_segxai.trust.registry import Verdict, check
from napari_segxai.trust.similarity import is_even, mean, rank_correlation
from napari_segxai.trust.subject import Subject, Tally
from napari_segxai.trust.weights import NotCopied, Twin, layers_of


@dataclass(frozen=True)
class Options:
    """Parameters of randomised-network."""

    layers: int = option(8, ge=1, help="steps at most; of a deeper network neighbouring layers go together")
    networks: int = option(3, ge=1, help="networks of which all weights are random")
    threshold: float = option(0.5, ge=0, le=1, help="rank correlation from which on the map has not changed")


def groups_of(subject: Subject, options: Options) -> list[list[str]]:
    """Return the layers that become random together, from the output to the input."""
    names = layers_of(subject.model)[::-1]
    return [list(part) for part in np.array_split(names, min(options.layers, len(names)))] if names else []


def _passes(subject: Subject, options: Options) -> Passes:
    groups = len(groups_of(subject, options))
    return subject.job.passes * (2 * groups + options.networks - 1 if groups else 0)


@check(
    "randomised-network",
    title="Randomised network",
    question="Does the map change when the network's weights are made random?",
    source="Adebayo et al., NeurIPS 2018",
    cost="(2 x layers + networks - 1) times the method's passes; fewer for a network with fewer layers",
    options=Options,
    passes=_passes,
)
def randomised_network(subject: Subject, options: Options, tally: Tally) -> Steps[Verdict]:
    """Make the map again for a network that forgets layer after layer, and for each layer alone."""
    groups = groups_of(subject, options)
    problem = _problem(subject, groups)
    if problem:
        return Verdict(None, None, options.threshold, problem)
    try:
        twin = Twin(subject.model, subject.job.device)
    except NotCopied as reason:
        why = f"The network cannot be copied to make its weights random ({reason})."
        return Verdict(None, None, options.threshold, why)
    seed, every = subject.job.seed, [name for group in groups for name in group]
    details: dict[str, float] = {}
    empty = 0

    def compare(note: str) -> Steps[float | None]:
        nonlocal empty
        found = yield from subject.ask(subject.again(model=twin.model), tally, note)
        value = rank_correlation(subject.map, subject.view(found.map))
        empty += value is None
        details[note] = 0.0 if value is None else value
        return value

    for group in groups:
        twin.randomise(group, seed)
        last = yield from compare(f"cascading: {_name(group)}")
    values = [last]
    for number in range(1, options.networks):
        twin.restore()
        twin.randomise(every, seed + number)
        values.append((yield from compare(f"all random, network {number + 1}")))
    for group in groups:
        twin.restore()
        twin.randomise(group, seed)
        yield from compare(f"alone: {_name(group)}")
    details["maps without any order"] = empty
    number = mean([None if value is None else abs(value) for value in values])
    if number is None:
        why = f"With random weights there is nothing of {subject.label!r} to explain, and no map to compare with."
        return Verdict(None, None, options.threshold, why, details)
    passed = number < options.threshold
    words = (
        f"With all weights random the map is another one (rank correlation {number:.2f}): it depends on what the "
        "network has learnt."
        if passed
        else f"With all weights random the map is still much the same (rank correlation {number:.2f}): it shows the "
        "image rather than what the network has learnt."
    )
    return Verdict(passed, number, options.threshold, words, details)


def _problem(subject: Subject, groups: Sequence[Sequence[str]]) -> str:
    if not groups:
        return "The network shows no weights that could be made random."
    return "The map is the same everywhere: there is nothing to compare." if is_even(subject.map) else ""


def _name(group: Sequence[str]) -> str:
    first, last = (name or "the network's own" for name in (group[0], group[-1]))
    return first if first == last else f"{first} to {last}"
