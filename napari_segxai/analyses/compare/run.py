"""Running a comparison: the methods one after the other, then the metrics, every step reported."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import numpy as np

from napari_segxai.analyses.compare.plan import ComparisonPlan
from napari_segxai.analyses.compare.result import Comparison
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.explain.run import explanations_steps, question_of
from napari_segxai.analyses.provenance import facts_of_model
from napari_segxai.core.progress import Passes, Step, Steps, relay
from napari_segxai.engine.execution.modes import in_usual_modes
from napari_segxai.engine.question import Question
from napari_segxai.metrics.table import evaluate_steps
from napari_segxai.models.inference.memory import guarded


@in_usual_modes
def comparison_steps(plan: ComparisonPlan) -> Steps[Comparison]:
    """Run a plan; see `compare_steps`."""
    shared, model = plan.shared, plan.shared.model
    found = Comparison(
        shared.image,
        shared.target,
        {name: map for name, map in plan.maps.items() if isinstance(map, Explanation)},
        {
            name: map.map if isinstance(map, Explanation) else np.asarray(map)
            for name, map in plan.maps.items()
        },
        plan.metrics,
        overlapping=model.overlapping,
        label=model.label_index(shared.target.label),
        truth=plan.truth,
        ignored=plan.ignored,
        warnings=list(plan.warnings),
        model=facts_of_model(model),
        asked=plan.asked,
    )
    done, measuring = 0, plan.measuring
    total = sum(one.passes.cost for one in plan.explanations.values()) + measuring.cost
    listed = list(plan.explanations)
    for names in (listed[k : k + plan.together] for k in range(0, len(listed), plan.together)):
        plans = [plan.explanations[name] for name in names]
        cost = sum(one.passes.cost for one in plans)
        title = names[0] + (f" to {names[-1]}" if len(names) > 1 else "")

        def explained(step: Step, done: int = done, cost: int = cost, title: str = title) -> Step:
            return Step(done + min(step.done, cost), total, f"{title}: {step.note}", partial(_so_far, found))

        explanations = yield from relay(explanations_steps(plans), explained)
        done += cost
        for name, explanation in zip(names, explanations, strict=True):
            found.explanations[name], found.maps[name] = explanation, explanation.map
            found.prediction = explanation.prediction
    start = time.perf_counter()
    with model.in_use(shared.device), guarded(shared.device):
        question = _question(plan, measuring)
        measured = evaluate_steps(
            found.maps,
            question,
            truth=found.truth,
            ignored=found.ignored,
            noise_model=plan.noise_model,
            metrics=[metric.name for metric in plan.metrics],
            controls=plan.controls,
            **plan.options,
        )
        found.rows = yield from relay(
            measured,
            lambda step: Step(min(done + step.done, total), total, step.note, partial(_so_far, found)),
        )
        found.passes = question.passes
    if found.prediction is None:
        found.prediction = model.predict(shared.image, slice=shared.slices[0], device=shared.device)
    found.seconds = time.perf_counter() - start
    return found


def _question(plan: ComparisonPlan, planned: Passes) -> Question:
    """Return what the metrics are asked about, with the passes that measuring takes."""
    shared = plan.shared
    question = question_of(shared, shared.model.prepare(shared.image, shared.slices[0]))
    question.planned = planned
    return question


def _so_far(found: Comparison) -> Comparison:
    return replace(
        found,
        explanations=dict(found.explanations),
        maps=dict(found.maps),
        rows=list(found.rows),
        partial=True,
    )
