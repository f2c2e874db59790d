"""Restates the prediction: does the map merely show where the object is?

A map that has the shape of the prediction answers "what", not "why". The number is the Dice of the map, where it is at
least half its maximum, with the predicted pixels (of the label, or of the object asked about, whichever is higher);
the share of the map's positive sum inside the label's pixels counts as well. Where coarse random maps with the same values
reach as much (their 95th percentile), because the label fills the image, nothing is held against the map.

Hasany, Petitjean, Meriaudeau 2025.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from napari_segxai.analyses.flow.advice import RESTATES, WITHIN
from napari_segxai.checks.context import CheckContext, PassCounter
from napari_segxai.checks.registry import Verdict, check
from napari_segxai.core.arrays import is_even
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.metrics.functional.chance import DRAWS, HIGH, random_field, with_values
from napari_segxai.metrics.functional.similarity import dice_of_arrays
from napari_segxai.metrics.functional.ties import above


@dataclass(frozen=True)
class Options:
    """Parameters of restates-prediction."""

    threshold: float = option(RESTATES, ge=0, le=1, help="Dice from which the map restates the prediction")
    within: float = option(
        WITHIN, ge=0, le=1, help="share of the map inside the prediction from which the map restates it"
    )


@check(
    "restates-prediction",
    title="More than the prediction",
    question="Does the map merely restate the prediction?",
    source="Hasany et al. 2025",
    cost="no passes",
    options=Options,
    passes=lambda context, options: Passes(),
)
def restates_prediction(context: CheckContext, options: Options, counter: PassCounter) -> Steps[Verdict]:
    """Compare the map's strongest part with the prediction."""
    yield counter.step("comparing with the prediction")
    if is_even(context.map) and context.map.any():
        why = "The map is the same everywhere: there is nothing to compare."
        return Verdict(None, None, options.threshold, why)
    positive = context.map.clip(min=0).astype(np.float64)
    if not positive.any() or not context.drawn.any():
        lack = "no positive value" if context.drawn.any() else f"no predicted pixel of {context.label!r}"
        return Verdict(None, None, options.threshold, f"There is {lack} to compare.")
    strong = positive >= positive.max() / 2
    with_label, with_object = dice_of_arrays(strong, context.drawn), dice_of_arrays(strong, context.object)
    inside = float(positive[context.drawn].sum() / positive.sum())
    number = max(with_label, with_object)
    chance, chance_inside = _chance(context, positive)
    details = {
        "dice with the label": with_label,
        "dice with the object": with_object,
        "share inside": inside,
        "dice of random maps": chance,
        "share inside of random maps": chance_inside,
    }
    measured = f"Dice with the prediction {number:.2f}, {inside:.0%} of it inside"
    restates, within = number >= options.threshold, inside >= options.within
    beyond = (restates and above(number, chance)) or (within and above(inside, chance_inside))
    if (restates or within) and not beyond:
        words = (
            f"The label fills so much of the image that random maps restate it as well ({measured}; random maps "
            f"{chance:.2f} and {chance_inside:.0%}): nothing can be said."
        )
        return Verdict(None, None, options.threshold, words, details)
    if restates:
        words = f"The map restates the prediction ({measured}): it says where the object is, and little about why."
    elif within:
        words = f"Nearly all of the map lies inside the prediction ({measured}): it says little about why."
    else:
        words = f"The map shows something else than the prediction ({measured})."
    return Verdict(not restates and not within, number, options.threshold, words, details)


def _chance(context: CheckContext, positive: np.ndarray) -> tuple[float, float]:
    """Return what random maps with these values reach: Dice with the prediction, share inside; 95th percentiles."""
    values = torch.from_numpy(np.sort(positive, axis=None)[::-1].copy())
    found = []
    for number in range(DRAWS):
        field = random_field(positive.shape, context.plan.seed, number)
        map = with_values(field, values, number).numpy()
        strong = map >= map.max() / 2
        inside = map[context.drawn].sum() / map.sum()
        found.append(
            (max(dice_of_arrays(strong, context.drawn), dice_of_arrays(strong, context.object)), inside)
        )
    high = np.percentile(found, HIGH, axis=0)
    return float(high[0]), float(high[1])
