"""Randomised network: does the map change when the network forgets what it has learnt?

The weights are made random layer by layer, cascading from the output to the input, and each layer alone; the map is
made again each time, about the same pixels. A map that stays the same with all weights random shows the image, not the
network: an edge filter would do. The number is the mean, over several random networks, of the size of the rank
correlation with the map; its sign does not count, since a map turned inside out looks the same.

Part of a map comes from the method alone: random masks, for instance, cover some pixels more often than others, whatever
is asked. So the maps of the random networks are made with other random numbers (another seed). And the method explains, with the
same seed, a random network that answers the same to every image, on an image of shuffled pixels: the control. What both
maps have in common with the control is taken out of their correlation (a partial rank correlation), and a map that is
nearly the control is a warning of its own. The check also tries, layer by layer, whether random weights reach what the network
computes with; where they do not, nothing is held against the map.

Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_segxai.checks.context import CheckContext, PassCounter
from napari_segxai.checks.randomize_weights import NotCopied, RandomizedCopy, layers_of
from napari_segxai.checks.registry import Verdict, check
from napari_segxai.core.arrays import is_even
from napari_segxai.core.correlation import rank_correlation
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.metrics.functional.similarity import mean, partial_correlation
from napari_segxai.models.segmentation import SegmentationModel

ALIKE = 0.9
"""Rank correlation of map and control from which the map is what the method draws of any network and image."""


@dataclass(frozen=True)
class Options:
    """Parameters of randomized-network."""

    layers: int = option(
        8, ge=1, le=1000, help="steps at most; neighbouring layers of a deeper network go together"
    )
    networks: int = option(3, ge=1, le=1000, help="networks with all weights random")
    threshold: float = option(0.5, ge=0, le=1, help="rank correlation from which the map has not changed")


def groups_of(context: CheckContext, options: Options) -> list[list[str]]:
    """Return the layers that become random together, from the output to the input."""
    names = layers_of(context.model)[::-1]
    return [list(part) for part in np.array_split(names, min(options.layers, len(names)))] if names else []


def _passes(context: CheckContext, options: Options) -> Passes:
    groups = len(groups_of(context, options))
    return context.plan.passes * (2 * groups + options.networks) + Passes(3) if groups else Passes()


@check(
    "randomized-network",
    title="Randomised network",
    question="Does the map change when the network's weights are made random?",
    source="Adebayo et al., NeurIPS 2018",
    cost="(2 x layers + networks) times the method's passes + 3 forward passes; fewer for a network with fewer layers",
    options=Options,
    passes=_passes,
)
def randomized_network(context: CheckContext, options: Options, counter: PassCounter) -> Steps[Verdict]:
    """Make the map again for a network that forgets layer after layer, and for each layer alone."""
    groups = groups_of(context, options)
    problem = _problem(context, groups)
    if problem:
        return Verdict(None, None, options.threshold, problem)
    try:
        copied = RandomizedCopy(context.model, context.plan.device)
    except NotCopied as reason:
        why = f"The network cannot be copied to make its weights random ({reason})."
        return Verdict(None, None, options.threshold, why)
    seed, every = context.plan.seed, [name for group in groups for name in group]
    copied.randomize(every, seed)
    kept = copied.kept()
    yield counter.step("do the random weights count?")
    with context.question(counter) as question:
        same, unreached = copied.stays(question)
        logits = question.logits
    if same:
        why = (
            "The network answers as before when all its weights are random, so nothing can be said: what it computes with is "
            "kept elsewhere."
        )
        return Verdict(None, None, options.threshold, why)
    control = yield from _control(context, copied.constant(logits), counter)
    copied.restore()
    details: dict[str, float] = {}
    empty = 0

    def compare(note: str) -> Steps[float | None]:
        nonlocal empty
        found = yield from context.ask(context.again(model=copied.model, seed=seed + 1), counter, note)
        value = partial_correlation(context.map, context.view(found.map), control)
        empty += value is None
        details[note] = 0.0 if value is None else value
        return value

    for group in groups:
        copied.randomize(group, seed)
        last = yield from compare(f"cascading: {_name(group)}")
    values = [last]
    for number in range(1, options.networks):
        copied.restore()
        copied.randomize(every, seed + number)
        values.append((yield from compare(f"all random, network {number + 1}")))
    for group in groups:
        copied.restore()
        copied.randomize(group, seed)
        yield from compare(f"alone: {_name(group)}")
    details["maps without any order"] = empty
    alone = 0.0 if control is None else abs(rank_correlation(context.map, control) or 0.0)
    details["control: the method alone"] = alone
    details["layers that random weights do not reach"] = len(unreached)
    number = mean([None if value is None else abs(value) for value in values])
    if alone >= ALIKE:
        words = (
            f"The method draws this map wherever this is the prediction, whatever the network and the image are (rank "
            f"correlation {alone:.2f} with a random network that always answers the same)."
        )
        return Verdict(False, alone, options.threshold, words, details)
    if number is None:
        why = f"There is nothing of {context.label!r} to explain when the weights are random, and so no map to compare with."
        return Verdict(None, None, options.threshold, why, details)
    return _verdict(number, alone, unreached, kept, len(every), options, details)


def _verdict(
    number: float,
    alone: float,
    unreached: Sequence[str],
    kept: Sequence[str],
    layers: int,
    options: Options,
    details: dict[str, float],
) -> Verdict:
    measured = f"rank correlation {number:.2f}"
    passed: bool | None = number < options.threshold
    which = "random parameters" if kept else "all weights random"
    if passed:
        words = f"The map is different with {which} ({measured}): it depends on what the network has learnt."
    elif unreached or kept:
        passed = None
        words = f"The map is still much the same with random {'parameters' if kept else 'weights'} ({measured}), which says nothing here."
    else:
        words = (
            f"The map is still much the same with all weights random ({measured}): it shows the image rather than what the "
            "network has learnt."
        )
    if alone >= options.threshold:
        words += f" Much of it comes from the method alone, whatever the network is (rank correlation {alone:.2f})."
    if kept:
        words += f" The buffers of the network, such as {kept[0]}, stayed as they were: weights among them were not made random."
    if unreached:
        words += (
            f" Random weights do not reach what {len(unreached)} of {layers} layers compute with, such as "
            f"{_name(unreached[:1])}."
        )
    return Verdict(passed, number, options.threshold, words, details)


def _control(
    context: CheckContext, model: SegmentationModel, counter: PassCounter
) -> Steps[np.ndarray | None]:
    """Return what the method draws of a network that always answers the same; None where it refuses."""
    image = shuffled(context.plan.image, context.plan.seed)
    try:
        found = yield from context.ask(context.again(model=model, image=image), counter, "the method alone")
    except UserError:
        return None
    return context.view(found.map)


def shuffled(image: Image, seed: int) -> Image:
    """Return the image with its pixels in random order, all channels alike."""
    values = image.channels_first()
    order = np.random.default_rng(seed).permutation(values[0].size)
    mixed = values.reshape(len(values), -1)[:, order].reshape(values.shape)
    array = mixed[0] if image.channel_axis is None else np.moveaxis(mixed, 0, image.channel_axis)
    return replace(image, array=np.ascontiguousarray(array))


def _problem(context: CheckContext, groups: Sequence[Sequence[str]]) -> str:
    if not groups:
        return "The network shows no weights that could be made random."
    return "The map is the same everywhere: there is nothing to compare." if is_even(context.map) else ""


def _name(group: Sequence[str]) -> str:
    first, last = (name or "the network's own" for name in (group[0], group[-1]))
    return first if first == last else f"{first} to {last}"
