"""What a worker is sent, and what it does with it: paths and plain values go over, and results go to the folder of the cohort."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_segxai.analyses.cohort.plan import CohortPlan, Job
from napari_segxai.analyses.cohort.where.cases import case_steps, run_out, threads
from napari_segxai.analyses.provenance import versions
from napari_segxai.core.errors import UserError
from napari_segxai.core.record import as_json
from napari_segxai.io.cases.case import Case, Cases
from napari_segxai.models.formats import builtin
from napari_segxai.models.loading.untrusted_code import allow_package, allowed_packages
from napari_segxai.models.registry import load_model
from napari_segxai.models.segmentation import SegmentationModel


def order_of(plan: CohortPlan) -> dict[str, Any]:
    """Return plain values of which another process makes the same plan: where the model lies, and what is asked.

    Raises
    ------
    UserError
        If the model lies nowhere but in the memory of this process.
    """
    model = plan.model
    if model.path is None:
        raise UserError(
            f"{model.name} exists in the memory of this process alone ({model.source}), and other processes cannot load it; save it "
            "as a model folder or TorchScript file and load it from there, or run here (where='here', --where here)."
        )
    built_in = [name for name, path in builtin.names().items() if path == model.path]
    return {
        "model": built_in[0] if built_in else str(model.path.absolute()),
        "is_name": bool(built_in),
        # What is set makes the same card: some keys may not even be given together.
        "card": model.card.model_dump(mode="json", exclude_unset=True),
        "architecture": model.architecture,
        "trust": model.trusted,
        "allowed": allowed_packages(),
        "name": model.name,
        "sha256": model.sha256,
        "question": plan.question,
        "device": plan.device.type,
        "asked": [job.asked for job in plan.jobs],
        "versions": versions(),
    }


def case_order(plan: CohortPlan, case: Case, place: Path) -> dict[str, Any]:
    """Return plain values of which another process makes the same case, with the cases of which its jobs take channels."""
    return {"cases": [_told(one) for one in (case, *plan.others(case))], "place": str(place.absolute())}


def _told(case: Case) -> dict[str, Any]:
    return {
        "id": case.id,
        "images": [str(path.absolute()) for path in case.images],
        "truth": None if case.truth is None else str(case.truth.absolute()),
        "group": case.group,
        "subject": case.subject,
    }


def _read(told: Mapping[str, Any]) -> Case:
    truth = None if told["truth"] is None else Path(told["truth"])
    return Case(told["id"], tuple(map(Path, told["images"])), truth, told["group"], told["subject"])


def do_case(order: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    """Do a case in this process, which is a worker's.

    Parameters
    ----------
    order, told
        From `order_of` and `case_order`.

    Returns
    -------
    bool
        Whether it came to its end; it is stopped where whoever asked for it has gone.

    Raises
    ------
    UserError
        If this process cannot do what is asked, or cannot keep what came of it.
    """
    first, *others = map(_read, told["cases"])
    cases = Cases(first.images[0], "table", (first, *others))
    try:
        with _one_at_a_time:
            ready = _made(order, cases)
            plan = replace(ready.plan, cases=cases)
            with threads(plan.threads):
                return run_out(case_steps(plan, ready.jobs, first, Path(told["place"])), _is_cancelled)
    except UserError as error:  # some kinds hold more than their sentence, which does not go over
        raise UserError(str(error)) from None


@dataclass(frozen=True)
class _Ready:
    """A plan with its model, which is kept for the next case."""

    plan: CohortPlan
    jobs: Sequence[Job]


_one_at_a_time = threading.Lock()
_models: dict[str, SegmentationModel] = {}
_ready: dict[str, _Ready] = {}


def _made(order: Mapping[str, Any], cases: Cases) -> _Ready:
    """Return the plan of an order, for any cases; the one that was made last is kept, and so is its model."""
    digest = hashlib.sha256(as_json(order, indent=None).encode()).hexdigest()
    if digest not in _ready:
        _ready.clear()
        plan = _plan(order, cases)
        _ready[digest] = _Ready(plan, plan.jobs)
    return _ready[digest]


def _plan(order: Mapping[str, Any], cases: Cases) -> CohortPlan:
    plan = CohortPlan.make(_model(order), cases, **order["question"], device=order["device"])
    if [job.asked for job in plan.jobs] != order["asked"]:
        mine, theirs = versions(), order["versions"]
        said = [
            f"{name} {mine.get(name)} instead of {theirs[name]}"
            for name in theirs
            if mine.get(name) != theirs[name]
        ]
        raise UserError(
            f"a worker would compute something else ({', '.join(said) or 'its packages or settings are others'}); install the same "
            "versions for the workers as here."
        )
    return plan


def _model(order: Mapping[str, Any]) -> SegmentationModel:
    """Load the model, once for all questions about the same weights and card."""
    key = as_json([order[name] for name in ("model", "card", "sha256")], indent=None)
    if key not in _models:
        _models.clear()
        for package in order["allowed"]:
            allow_package(package)
        source: str | Path = order["model"] if order["is_name"] else Path(order["model"])
        model = load_model(
            source, card=order["card"], architecture=order["architecture"], trust=order["trust"]
        )
        if model.sha256 != order["sha256"]:
            raise UserError(
                f"{order['model']} holds other weights of {order['name']} than the process that asks; save the model there, or run "
                "here (where='here', --where here)."
            )
        _models[key] = model
    return _models[key]


def _is_cancelled() -> bool:
    """Tell whether the task that this thread does is not wanted any more."""
    from distributed import get_worker

    try:
        worker = get_worker()
        task = worker.state.tasks.get(worker.get_current_task())
    except ValueError:  # not called by a worker
        return False
    return task is None or task.state == "cancelled"
