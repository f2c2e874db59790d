"""What a run of a cohort has before it: what is there already, how many passes are left, and how much room the maps take."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_segxai.analyses.cohort.jobs.channels import passes_of
from napari_segxai.analyses.cohort.jobs.inputs import Inputs
from napari_segxai.analyses.cohort.jobs.measured import by_options
from napari_segxai.analyses.cohort.plan import CohortPlan, Job
from napari_segxai.analyses.cohort.result import CASES
from napari_segxai.analyses.cohort.run import room
from napari_segxai.analyses.cohort.where.cases import is_done
from napari_segxai.analyses.compare.plan import ComparisonPlan
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.flow.plan import FlowPlan
from napari_segxai.analyses.inputs import as_image
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Passes
from napari_segxai.io.cases.case import Case
from napari_segxai.models.inference.members import ensemble_of


@dataclass(frozen=True)
class Outlook:
    """What is left of a run.

    Attributes
    ----------
    cases, there
        How many cases there are, and of how many all is done.
    jobs, done
        The same of jobs.
    passes
        Those left, as the first image that could be read tells; None where none could.
    image, slice
        That image, and its first slice that is looked at, if the model takes slices.
    bytes, free
        What the maps that are not there yet take at least, and how much room the disk has.
    """

    cases: int
    there: int
    jobs: int
    done: int
    passes: Passes | None
    image: Image | None
    slice: int | None
    bytes: int
    free: int


def outlook(plan: CohortPlan, folder: Path) -> Outlook:
    """Look at the folder of a run, and at the first image that is left; nothing is computed.

    Parameters
    ----------
    plan
        What is asked.
    folder
        Of the results; it need not be there.
    """
    jobs, folders = plan.jobs, plan.folders
    left: list[tuple[Case, list[Job]]] = []
    for case in plan.cases:
        place = folder / CASES / folders[case.id]
        lacking = jobs if not place.is_dir() else [job for job in jobs if not is_done(plan, case, job, place)]
        if lacking:
            left.append((case, lacking))
    lacking_jobs = sum(len(lacking) for _, lacking in left)
    passes, image, slice = _passes(plan, left)
    return Outlook(
        len(plan.cases), len(plan.cases) - len(left), len(plan.cases) * len(jobs),
        len(plan.cases) * len(jobs) - lacking_jobs, passes, image, slice,
        *room(plan, folder),
    )  # fmt: skip


def _passes(
    plan: CohortPlan, left: list[tuple[Case, list[Job]]]
) -> tuple[Passes | None, Image | None, int | None]:
    """Return the passes of all jobs that are left, as if every image were like the first that can be read."""
    for case, _ in left:
        with contextlib.suppress(UserError):  # what is wrong with it is said in its row
            inputs = Inputs(case)
            image, truth = inputs.image, inputs.truth
            slices = plan.model.slices(as_image(image, plan.model))
            slice = None if slices is None else slices // 2
            cost = {}
            for job in plan.jobs:
                if job.kind == "map":
                    cost[job], slice = _passes_of(plan, job, image, truth)
                elif job.kind == "flow":
                    asked: dict[str, Any] = {"seed": plan.seed, "device": plan.device, **(plan.flow or {})}
                    cost[job] = FlowPlan.make(plan.model, image, plan.labels, slice=slice, **asked).passes
                elif job.kind == "channels":
                    cost[job] = passes_of(plan)
                else:  # of an ensemble every member is looked at by itself, too
                    cost[job] = Passes((slices or 1) * (1 if ensemble_of(plan.model.module) is None else 2))
            return sum((cost[job] for _, lacking in left for job in lacking), Passes()), image, slice
    return None, None, None


def _passes_of(plan: CohortPlan, job: Job, image: Image, truth: Image | None) -> tuple[Passes, int | None]:
    method, parameters = plan.maps[job.map].method, dict(plan.maps[job.map].parameters)
    metrics = [one for one in plan.metrics if truth is not None or "truth" not in one.needs]
    asked: dict[str, Any] = {"seed": plan.seed, "device": plan.device}
    alone = ExplanationPlan.make(plan.model, image, job.label, method, **asked, **parameters)
    found = alone.passes
    for options, some in by_options(metrics):
        found += ComparisonPlan.make(
            plan.model,
            image,
            job.label,
            {job.map: (method, parameters)},
            truth=truth,
            metrics=[one.metric.name for one in some],
            controls=0,
            **asked,
            **options,
        ).measuring
    return found, alone.slices[0]
