"""Doing one job of a cohort, and keeping what came of it: one folder, written as one step, with the key of what was asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_segxai.analyses.cohort.jobs.channels import channel_rows
from napari_segxai.analyses.cohort.jobs.inputs import Inputs
from napari_segxai.analyses.cohort.jobs.measured import by_options
from napari_segxai.analyses.cohort.jobs.objects import object_rows
from napari_segxai.analyses.cohort.plan import CohortPlan, Job
from napari_segxai.analyses.compare.plan import ComparisonPlan
from napari_segxai.analyses.compare.run import comparison_steps
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.result import Explanation, write_explanation
from napari_segxai.analyses.explain.run import explanation_steps
from napari_segxai.analyses.flow.plan import FlowPlan
from napari_segxai.analyses.flow.result import write_flow
from napari_segxai.analyses.flow.run import flow_steps
from napari_segxai.analyses.inputs import as_image
from napari_segxai.core.errors import reason_of
from napari_segxai.core.progress import Steps
from napari_segxai.core.record import SCHEMA, as_json
from napari_segxai.io.cases.case import Case
from napari_segxai.io.held import RECORD, is_file
from napari_segxai.io.json_files import read_json
from napari_segxai.io.saving import save_folder
from napari_segxai.methods.registry import find_method
from napari_segxai.metrics.functional.chance import columns as chance_columns
from napari_segxai.metrics.functional.mass import mass_outside

JOB = "job.json"
"""What came of a job: its key, its rows, and the sentence of why it failed ("" where it did not)."""


Fill = Callable[[Path], Mapping[str, Any]]
"""Fills a folder and returns what its record says."""


@dataclass(frozen=True)
class Done:
    """What a folder says of a job.

    Attributes
    ----------
    key, asked
        Of what it was.
    rows
        Of the table of its kind.
    error
        Why it failed; "" where it did not.
    """

    key: str
    asked: str
    rows: list[dict[str, Any]]
    error: str


def do(plan: CohortPlan, case: Case, job: Job, inputs: Inputs, folder: Path) -> Steps[Done]:
    """Do a job and keep what came of it, also that it failed.

    Raises
    ------
    UserError
        If it cannot be kept.
    """
    # What the case is, is looked at before it is read: what changes from then on is another case.
    key = plan.key(case, job)
    try:
        rows, fill = yield from MAKERS[job.kind](plan, job, inputs)
    except (Exception, SystemExit) as reason:
        # Of a stranger's file or network, which may also call `exit`; a full disk is told when this is kept.
        return give_up(case, job, key, folder, reason_of(reason))
    return _keep(case, job, folder, key, rows, "", fill)


def give_up(case: Case, job: Job, key: str, folder: Path, why: str) -> Done:
    """Keep that a job failed.

    Parameters
    ----------
    key
        That of the plan, of what failed.
    folder
        That of the case.
    why
        The sentence of its row.

    Raises
    ------
    UserError
        If it cannot be kept.
    """
    label = {"label": job.label, "map": job.map} if job.kind == "map" else {}
    return _keep(case, job, folder, key, [label], why, _record)


def _keep(
    case: Case, job: Job, folder: Path, key: str, rows: list[dict[str, Any]], error: str, fill: Fill
) -> Done:
    """Write what came of a job, as one step."""
    about = {"case": case.id, "group": case.group, "subject": case.subject}
    done = Done(key, job.asked, [{**about, **row, "error": error} for row in rows], error)

    def write(new: Path) -> Mapping[str, Any]:
        facts = fill(new)
        told = {"key": key, "asked": job.asked, "rows": done.rows, "error": error}
        (new / JOB).write_text(as_json(told) + "\n", encoding="utf-8")
        return facts

    save_folder(folder / job.place, write, overwrite=True)
    return done


def _record(_: Path) -> dict[str, Any]:
    return {"kind": "job of a cohort", "schema": SCHEMA}


Made = tuple[list[dict[str, Any]], Fill]
"""Rows, and what fills the folder."""


def _objects(plan: CohortPlan, job: Job, inputs: Inputs) -> Steps[Made]:
    yield from ()
    image = as_image(inputs.image, plan.model)
    seen = inputs.seen(plan)
    rows, notes = object_rows(plan.model, image, plan.labels, inputs.truth, seen)
    said = " | ".join(dict.fromkeys([*inputs.notes, *seen.notes, *notes]))
    return [{**row, "warnings": said} for row in rows], _record


def _map(plan: CohortPlan, job: Job, inputs: Inputs) -> Steps[Made]:
    one = plan.maps[job.map]
    method, parameters = one.method, dict(one.parameters)
    target, about, nothing = inputs.target(plan, job.label, one.component)
    if target is None:
        return [{"label": job.label, "map": job.map, "method": method, **about, "warnings": nothing}], _record
    asked: dict[str, Any] = {"seed": plan.seed, "device": plan.device}
    truth, without = inputs.usable_truth(plan) if plan.metrics else (None, [])
    metrics = [one for one in plan.metrics if truth is not None or "truth" not in one.needs]
    numbers: dict[str, Any] = {metric.name: None for metric in plan.metrics}
    explanation, warnings = None, []
    index = inputs.slice(plan, job.label) if metrics else None
    if not metrics or index is not None:  # of a volume all slices are explained, and one is measured
        made = ExplanationPlan.make(plan.model, inputs.image, target, method, **asked, **parameters)
        explanation = yield from explanation_steps(made)
    for options, some in by_options(metrics):
        what: dict[str, Any] = {"methods": {job.map: (method, parameters)}}
        if explanation is not None:
            what = {"maps": {job.map: explanation if index is None else explanation.map}}
        comparison = yield from comparison_steps(
            ComparisonPlan.make(
                plan.model,
                inputs.image,
                target,
                **what,
                truth=truth,
                metrics=[one.metric.name for one in some],
                controls=0,
                slice=index,
                **asked,
                **options,
            )
        )
        explanation = comparison.explanations[job.map] if index is None else explanation
        for one, measured in zip(some, comparison.rows, strict=True):
            numbers[one.name] = measured["value"]
            numbers |= chance_columns({**measured, "metric": one.name})
            warnings += [f"{one.name}: {measured['reason']}"] if measured["reason"] else []
        warnings = [*comparison.warnings, *warnings]
    assert explanation is not None
    warnings = [*explanation.record.warnings, *warnings, *without]
    row = {
        **({} if index is None else {"slice": index}),
        "label": job.label,
        "map": job.map,
        "method": method,
        **about,
        "seconds": explanation.record.seconds,
        **{f"{name}_passes": count for name, count in explanation.record.passes.items()},
        "empty": not bool((explanation.map > 0).any()),
        **_evidence(explanation),
        **_plain(explanation.record.results, method),
        **numbers,
        "warnings": " | ".join(dict.fromkeys(warnings)),
    }
    return [row], lambda new: write_explanation(explanation, new) if plan.keep == "all" else _record(new)


def _flow(plan: CohortPlan, job: Job, inputs: Inputs) -> Steps[Made]:
    truth, without = inputs.usable_truth(plan)
    made = FlowPlan.make(
        plan.model,
        inputs.image,
        plan.labels,
        truth=truth,
        seed=plan.seed,
        device=plan.device,
        slice=inputs.slice(plan),
        **(plan.flow or {}),
    )
    flow = yield from flow_steps(made)
    warnings = " | ".join(dict.fromkeys([*flow.warnings, *without]))
    about = {} if made.first.slice is None else {"slice": made.first.slice}
    rows = [{**about, **_finite(row), "warnings": warnings} for row in flow.rows]
    return rows, lambda new: write_flow(flow, new) if plan.keep == "all" else _record(new)


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with None for numbers that are not defined."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _channels(plan: CohortPlan, job: Job, inputs: Inputs) -> Steps[Made]:
    rows = yield from channel_rows(plan, inputs)
    return rows, _record


MAKERS: dict[str, Callable[[CohortPlan, Job, Inputs], Steps[Made]]] = {
    "objects": _objects,
    "map": _map,
    "flow": _flow,
    "channels": _channels,
}
"""What does a job, by its kind."""


def _evidence(explanation: Explanation) -> dict[str, Any]:
    """Return where the evidence lies: outside the object, how far from it, and on which labels."""
    label, image = explanation.record.target["label"], explanation.image
    found = mass_outside(explanation.map, explanation.drawn(label), image.spacing)
    shares = explanation.mass_per_label()
    found = found or dict.fromkeys(("share", "distance", "reach"))
    return {
        "evidence_outside": found["share"],
        f"evidence_distance_{image.units}": found["distance"],
        f"evidence_reach_{image.units}": found["reach"],
        **{f"evidence on {name}": shares.get(name) for name in explanation.record.model["labels"]},
    }


def _plain(results: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Return the numbers and words among what a method tells, but for its own parameters: those are asked, not found."""
    asked = {parameter.name for parameter in find_method(method).parameters}
    return {
        name: value
        for name, value in results.items()
        if name not in asked and (value is None or isinstance(value, int | float | str))
    }


def _is_row(row: Any, case: str) -> bool:
    """Tell whether this is a row of a table as it is kept: plain values, the case and what went wrong with it, else its label."""
    return (
        isinstance(row, dict)
        and row.get("case") == case
        and isinstance(row.get("error"), str)
        and (row["error"] != "" or isinstance(row.get("label"), str))
        and all(value is None or isinstance(value, int | float | str) for value in row.values())
    )


def read_done(folder: Path, case: str) -> Done | None:
    """Return what a folder says of a job of a case; None where it holds none that was kept whole."""
    if not is_file(folder / RECORD) or not is_file(folder / JOB):
        return None
    try:
        told = read_json(folder / JOB)
        rows, texts = told["rows"], [told["key"], told["asked"], told["error"]]
        known = isinstance(rows, list) and rows and all(_is_row(row, case) for row in rows)
        return Done(*texts[:2], rows, texts[2]) if known and all(isinstance(t, str) for t in texts) else None
    except (ValueError, TypeError, KeyError):
        return None
