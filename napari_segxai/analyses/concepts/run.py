"""Running a survey: every step reported, and what there is so far kept."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any

from napari_segxai.analyses.concepts.plan import SurveyPlan
from napari_segxai.analyses.concepts.result import Survey, SurveyMap
from napari_segxai.analyses.concepts.sources import entry_of
from napari_segxai.analyses.explain.on_image import layer_map
from napari_segxai.analyses.provenance import facts_of_model, now, versions
from napari_segxai.core.chart import plain_value
from napari_segxai.core.errors import ended
from napari_segxai.core.progress import Passes, Step, Steps, relay
from napari_segxai.engine.cases import CaseMap, CasesQuestion, SurveyFinding
from napari_segxai.engine.execution.modes import in_usual_modes
from napari_segxai.methods.registry import options_as_dict
from napari_segxai.models.inference.memory import guarded


@in_usual_modes
def survey_steps_of(plan: SurveyPlan) -> Steps[Survey]:
    """Run a plan; see `survey_steps`."""
    start = time.perf_counter()
    on_cases = plan.method.on_cases
    assert on_cases is not None
    with plan.model.in_use(plan.device), guarded(plan.device):
        cases = question_of(plan, plan.passes)
        cases.warnings += _said_before(plan)

        def so_far(make: Any) -> Survey:
            return _survey(plan, cases, make(), time.perf_counter() - start, is_partial=True)

        def reported(step: Step) -> Step:
            return step if step.partial is None else replace(step, partial=partial(so_far, step.partial))

        found = yield from relay(on_cases.run(cases, plan.options), reported)
    return _survey(plan, cases, found, time.perf_counter() - start, is_partial=False)


def question_of(plan: SurveyPlan, passes: Passes) -> CasesQuestion:
    """Return the question of a plan, of which so many passes are expected; the model is in use meanwhile."""
    assert plan.method.on_cases is not None
    return CasesQuestion(
        plan.model,
        [entry_of(case, plan.model, plan.concepts) for case in plan.cases],
        plan.labels,
        device=plan.device,
        seed=plan.seed,
        planned=passes,
        method=plan.method.name,
        fewest=plan.method.on_cases.fewest,
        source=plan.cases.source.name,
        concepts=None if plan.concepts is None or plan.concepts.kind != "predicted" else plan.concepts.names,
    )


def map_of(one: CaseMap, plan: SurveyPlan) -> SurveyMap:
    """Return a map of a case as a survey keeps it."""
    read = next(case.read for case in plan.cases if case.id == one.case)
    return SurveyMap(one.case, one.name, partial(_on_image, one), read, dict(one.of))


def _said_before(plan: SurveyPlan) -> list[str]:
    source, out = plan.concepts, []
    if source is not None and source.note:
        out.append(source.note)
    if source is not None and source.masks is not None:
        lacking: dict[str, int] = {}
        for case in plan.cases:
            for name in source.masks.missing(case.id) if source.masks.files.get(case.id) else ():
                lacking[name] = lacking.get(name, 0) + 1
        if left := source.masks.left_out:
            some = ", ".join(path.name for path in left[:3]) + (", ..." if len(left) > 3 else "")
            out.append(
                f"{len(left)} files of {source.masks.folder.name} belong to no case and are left out: {some}."
            )
        out += [
            f"{name} has no mask in {count} of {len(plan.cases)} cases, and was taken to be nowhere there."
            for name, count in lacking.items()
        ]
    return out


def _survey(
    plan: SurveyPlan, cases: CasesQuestion, found: SurveyFinding, seconds: float, *, is_partial: bool
) -> Survey:
    warnings = [*cases.warnings, *found.warnings]
    if cases.failed:
        case, reason = next(iter(cases.failed.items()))
        said = reason if reason.startswith(f"{case}:") else f"{case}: {reason}"
        warnings.append(
            f"{len(cases.failed)} of {len(cases.entries)} cases failed and do not count; {ended(said)}"
        )
    record = {
        "method": plan.method.name,
        "parameters": options_as_dict(plan.options),
        "labels": list(plan.labels),
        "concepts": None if plan.concepts is None else plan.concepts.told,
        "source": str(plan.cases.source.absolute()),
        "layout": plan.cases.layout,
        "find": dict(plan.cases.asked),
        "cases": [
            {
                "id": case.id,
                "subject": case.subject,
                "images": [str(path.absolute()) for path in case.images],
                "truth": None if case.truth is None else str(case.truth.absolute()),
                "slice": cases.slices.get(case.id),
                "error": cases.failed.get(case.id, ""),
            }
            for case in plan.cases
        ],
        "model": facts_of_model(plan.model),
        "device": str(plan.device),
        "seed": plan.seed,
        "passes": cases.passes.as_dict(),
        "seconds": round(seconds, 3),
        "results": {name: plain_value(value) for name, value in found.numbers.items()},
        "unit": str(plan.method.unit_of(plan.options)),
        "sentence": found.sentence,
        "warnings": list(dict.fromkeys(warnings)),
        "partial": is_partial,
        "created": now(),
        "versions": versions(),
    }
    return Survey(
        record,
        [dict(row) for row in found.rows],
        found.charts,
        tuple(map_of(one, plan) for one in found.maps),
        {name: [dict(row) for row in rows] for name, rows in found.tables.items()},
        found.galleries,
    )


def _on_image(one: CaseMap) -> Any:
    return layer_map(one.values, one.placement)
