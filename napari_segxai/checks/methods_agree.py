"""Methods agree: do other methods rank the pixels alike?

A few cheap methods explain the same target; the number is the median rank correlation of their maps with this one. Methods
ask different questions, so they need not agree; but where none does, a single map is a weak argument. The control is the
rank correlation with coarse random maps (95th percentile), which the number has to exceed.

Krishna et al. 2022, on disagreement between explanations.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.checks.context import CheckContext, PassCounter
from napari_segxai.checks.registry import Verdict, check
from napari_segxai.core.arrays import is_even
from napari_segxai.core.correlation import rank_correlation
from napari_segxai.core.errors import UserError
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.methods.registry import find_method
from napari_segxai.metrics.functional.similarity import chance_correlation
from napari_segxai.metrics.functional.ties import above

CHEAP = ("seg-grad-cam", "seg-hires-grad-cam", "input-x-gradient", "smooth-grad")
"""In the order in which they are taken, without the method that is checked."""


@dataclass(frozen=True)
class Options:
    """Parameters of methods-agree."""

    methods: str = option(
        "", help="names, separated by commas; by default three cheap ones that fit the model"
    )
    threshold: float = option(0.4, ge=0, le=1, help="median rank correlation below which they disagree")


def others_of(context: CheckContext, options: Options) -> list[ExplanationPlan]:
    """Return what the other methods are asked; of the usual ones those that the network can be asked by.

    Raises
    ------
    UserError
        If a method is unknown, or does not fit the model.
    """
    own = context.explanation.record
    names = [name.strip() for name in options.methods.split(",") if name.strip()]
    if options.methods and own.method in names:
        raise UserError(f"methods-agree: {own.method} made the map; name others.")
    if names:
        return [context.again(method=name, **_params(own.parameters, name)) for name in names]
    plans: list[ExplanationPlan] = []
    for name in CHEAP:
        if name != own.method and len(plans) < 3:
            with suppress(UserError):  # a network without layers that have names, or without gradients
                plans.append(context.again(method=name, **_params(own.parameters, name)))
    return plans


def _params(own: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the same network layer for a method that looks at one."""
    shared = "layer" in own and "layer" in find_method(name).layer_parameters
    return {"layer": own["layer"]} if shared else {}


@check(
    "methods-agree",
    title="Methods agree",
    question="Do other methods rank the pixels alike?",
    source="Krishna et al. 2022, the disagreement problem",
    cost="the passes of the other methods",
    options=Options,
    passes=lambda context, options: sum((plan.passes for plan in others_of(context, options)), Passes()),
)
def methods_agree(context: CheckContext, options: Options, counter: PassCounter) -> Steps[Verdict]:
    """Explain the same target by other methods, and compare."""
    if is_even(context.map):
        why = "The map is the same everywhere: there is nothing to compare."
        return Verdict(None, None, options.threshold, why)
    details: dict[str, float] = {}
    others = others_of(context, options)
    if not others:
        why = f"None of {', '.join(CHEAP)} works with this network: name other methods."
        return Verdict(None, None, options.threshold, why)
    for plan in others:
        found = yield from context.ask(plan, counter, plan.method.name)
        value = rank_correlation(context.map, context.view(found.map))
        if value is not None:
            details[plan.method.name] = value
    if not details:
        why = "The maps of all other methods are the same everywhere: there is nothing to compare."
        return Verdict(None, None, options.threshold, why)
    number = float(np.median(list(details.values())))
    control = chance_correlation(context.map, context.plan.seed)
    passed = number >= options.threshold and bool(above(number, control))
    told = (
        ", ".join(f"{name} {value:.2f}" for name, value in details.items()) + f"; random maps {control:.2f}"
    )
    words = (
        f"Other methods rank the pixels alike (median rank correlation {number:.2f}: {told})."
        if passed
        else f"Other methods rank the pixels differently (median rank correlation {number:.2f}: {told}): do not rely on "
        "this map alone."
    )
    return Verdict(passed, number, options.threshold, words, details)
