"""Running a sweep: the comparison of all combinations, then the random masks beside them, every step reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from napari_segxai.analyses.compare.result import Comparison
from napari_segxai.analyses.compare.run import comparison_steps
from napari_segxai.analyses.sweep.controls import OWN_DICE, random_masks
from napari_segxai.analyses.sweep.plan import SweepPlan
from napari_segxai.analyses.sweep.result import Sweep
from napari_segxai.core.progress import Step, Steps, relay
from napari_segxai.core.record import is_number
from napari_segxai.metrics.functional.chance import Chance


def planned_sweep_steps(plan: SweepPlan) -> Steps[Sweep]:
    """Run a plan; see `sweep_steps`."""
    more = plan.control_passes.cost

    def so_far(comparison: Callable[[], Comparison]) -> Sweep:
        return Sweep(plan.method, plan.grid, comparison(), fixed=plan.fixed)

    def swept(step: Step) -> Step:
        return replace(step, total=step.total + more, partial=step.partial and partial(so_far, step.partial))

    comparison = yield from relay(comparison_steps(plan.comparison), swept)
    found = Sweep(plan.method, plan.grid, comparison, fixed=plan.fixed)
    before = plan.comparison.passes.cost

    def controlled(step: Step) -> Step:
        return Step(min(before + step.done, before + more), before + more, step.note, lambda: found)

    own_chance = yield from relay(_own_chance(plan, comparison), controlled)
    return replace(found, own_chance=own_chance)


def _own_chance(plan: SweepPlan, comparison: Comparison) -> Steps[dict[tuple[str, str], Chance]]:
    """Measure random masks beside the Dice that the method tells of itself."""
    masks: dict[Any, dict[tuple[str, str], np.ndarray]] = {}  # by baseline, which may be swept
    for name, found in comparison.explanations.items():
        for number, mask in OWN_DICE.get(plan.method, {}).items():
            if is_number(found.record.results.get(number)):
                masks.setdefault(found.record.parameters["baseline"], {})[name, number] = mask(found)
    out: dict[tuple[str, str], Chance] = {}
    for baseline, of_baseline in (masks if plan.draws else {}).items():
        out |= yield from random_masks(plan.comparison.shared, of_baseline, baseline, plan.draws)
    return out
