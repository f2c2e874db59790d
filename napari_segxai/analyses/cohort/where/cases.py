"""Doing what is to do for one case, wherever that is."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import torch

from napari_segxai.analyses.cohort.jobs.inputs import Inputs
from napari_segxai.analyses.cohort.jobs.job import do, read_done
from napari_segxai.analyses.cohort.plan import CohortPlan, Job
from napari_segxai.core.progress import Step, Steps, relay
from napari_segxai.io.cases.case import Case
from napari_segxai.io.held import STAGE
from napari_segxai.io.saving import check_folder

UNIT = 1000
"""What a job counts in the progress: what it really costs is known when its image is read."""


def is_done(plan: CohortPlan, case: Case, job: Job, place: Path) -> bool:
    """Tell whether the folder of a case holds what came of a job, and nothing of the case or of what is asked has changed since."""
    kept = read_done(place / job.place, case.id)
    return kept is not None and not kept.error and kept.key == plan.key(case, job)


def _is_there(plan: CohortPlan, case: Case, job: Job, place: Path) -> bool:
    """`is_done`, of a job that nobody else is doing: a save that was killed is completed before, or what is left of it cleared.

    Raises
    ------
    UserError
        If it can be neither.
    """
    if os.path.lexists(place / job.place / STAGE):
        check_folder(place / job.place, overwrite=True)
    return is_done(plan, case, job, place)


def case_steps(plan: CohortPlan, jobs: Sequence[Job], case: Case, place: Path) -> Steps[None]:
    """Do the jobs of a case that are not done yet; each is kept when it is done.

    Parameters
    ----------
    plan
        What is asked; of its `cases` it needs those of which jobs take channels.
    jobs
        Those of the plan.
    case, place
        The case, and its folder.

    Yields
    ------
    Step
        A job counts `UNIT`; the note says which one.

    Raises
    ------
    UserError
        If something cannot be kept.
    """
    inputs, total = Inputs(case), UNIT * len(jobs)
    for number, job in enumerate(jobs):
        done = UNIT * number
        what = job.title
        if not _is_there(plan, case, job, place):

            def reported(step: Step, done: int = done, what: str = what) -> Step:
                share = round(UNIT * step.done / max(step.total, 1))
                return Step(done + min(share, UNIT), total, f"{what}, {step.note}")

            yield from relay(do(plan, case, job, inputs, place), reported)
        yield Step(done + UNIT, total, what)


def run_out(steps: Steps[None], is_stopped: Callable[[], bool]) -> bool:
    """Run steps to their end, or until it is said to stop; tells whether they came to their end."""
    with closing(steps):
        return not any(is_stopped() for _ in steps)


def waiting(
    plan: CohortPlan, jobs: Sequence[Job], cases: Iterable[tuple[Case, Path]]
) -> list[tuple[Case, Path, int]]:
    """Return the cases that are not done, and how many jobs of each are; nobody else may be doing them."""
    found = [(case, place, sum(_is_there(plan, case, job, place) for job in jobs)) for case, place in cases]
    return [one for one in found if one[2] < len(jobs)]


@contextmanager
def threads(count: int) -> Generator[None]:
    """While open, torch computes with so many threads of the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
