"""Another seed: does the map stay when other random numbers are drawn?

Masks, noise and ties come from a seed; the map should not. Methods without anything random pass by their nature. The
number is the rank correlation of the map with that of another seed, the lowest where several are tried; the control is
that with coarse random maps (95th percentile), which it has to exceed.

Slack, Hilgard, Singh, Lakkaraju, NeurIPS 2021, on the variance of explanations that sample.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_segxai.checks.context import CheckContext, PassCounter
from napari_segxai.checks.registry import Verdict, check
from napari_segxai.core.arrays import is_even
from napari_segxai.core.correlation import rank_correlation
from napari_segxai.core.options import option
from napari_segxai.core.progress import Steps
from napari_segxai.metrics.functional.similarity import chance_correlation
from napari_segxai.metrics.functional.ties import above


@dataclass(frozen=True)
class Options:
    """Parameters of other-seed."""

    seeds: int = option(1, ge=1, le=1000, help="other seeds to try")
    threshold: float = option(0.8, ge=0, le=1, help="rank correlation below which the map has changed")


@check(
    "other-seed",
    title="Another seed",
    question="Does the map stay the same when other random numbers are drawn?",
    source="Slack et al., NeurIPS 2021, on the variance of explanations",
    cost="seeds times the method's passes",
    options=Options,
    passes=lambda context, options: context.plan.passes * options.seeds,
)
def other_seed(context: CheckContext, options: Options, counter: PassCounter) -> Steps[Verdict]:
    """Make the map again with other seeds; the worst counts."""
    if is_even(context.map):
        why = "The map is the same everywhere: there is nothing to compare."
        return Verdict(None, None, options.threshold, why)
    details: dict[str, float] = {}
    for number in range(1, options.seeds + 1):
        seed = context.plan.seed + number
        found = yield from context.ask(context.again(seed=seed), counter, f"seed {seed}")
        value = rank_correlation(context.map, context.view(found.map))
        details[f"seed {seed}"] = 0.0 if value is None else value
    number = min(details.values())
    control = chance_correlation(context.map, context.plan.seed)
    passed = number >= options.threshold and bool(above(number, control))
    measured = f"rank correlation {number:.2f}, random maps reach {control:.2f}"
    words = (
        f"Another seed gives the same map ({measured})."
        if passed
        else f"Another seed gives another map ({measured}): much of it is chance; take more samples."
    )
    return Verdict(passed, number, options.threshold, words, details)
