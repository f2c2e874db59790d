"""Running a cohort: what is there already is not done again, and the rest is done where it was asked for."""

from __future__ import annotations

import contextlib
import shutil
from functools import partial
from pathlib import Path

from napari_segxai.analyses.cohort.hold import held_alone
from napari_segxai.analyses.cohort.jobs.inputs import Inputs
from napari_segxai.analyses.cohort.plan import CohortPlan
from napari_segxai.analyses.cohort.result import CASES, Cohort, collect, facts, save_tables
from napari_segxai.analyses.cohort.where.elsewhere import steps_elsewhere
from napari_segxai.analyses.cohort.where.here import steps_here
from napari_segxai.analyses.cohort.where.place import HERE, Where
from napari_segxai.analyses.cohort.where.task import Task
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Steps
from napari_segxai.io import saving


def cohort_steps(
    plan: CohortPlan, folder: Path, shard: tuple[int, int] = (1, 1), where: Where = HERE
) -> Steps[Cohort]:
    """Run a plan; see `run_cohort`.

    The folder is the state: whoever stops it, or kills it, loses what the jobs in hand have done. Its tables hold what
    there is, however it ends, unless it is killed.
    """
    record = facts(plan)
    with held_alone(folder, shard) as check:
        check_room(plan, folder)
        save_tables(collect(folder, record))
        folders = plan.folders
        cases = [(case, folder / CASES / folders[case.id]) for case in plan.shard(*shard)]
        task = Task(plan, plan.jobs, cases, folder, partial(collect, folder, record), check)
        try:
            yield from steps_here(task) if where.kind == "here" else steps_elsewhere(task, where)
        except (GeneratorExit, KeyboardInterrupt, UserError):
            with contextlib.suppress(UserError):  # what ended it is told
                check()
                save_tables(collect(folder, record))
            raise
        check()
        found = collect(folder, record)
        save_tables(found)
    return found


def least_size(plan: CohortPlan, folder: Path) -> int:
    """Return how many bytes the maps take at least that are not there yet, as far as the first image that can be read tells."""
    if plan.keep != "all":
        return 0
    folders = plan.folders
    todo = [case for case in plan.cases if not (folder / CASES / folders[case.id]).is_dir()]
    for case in todo:
        with contextlib.suppress(UserError):  # what is wrong with it is said in its row
            return saving.least_size(Inputs(case).image, len(plan.labels) * len(plan.maps)) * len(todo)
    return 0


def check_room(plan: CohortPlan, folder: Path) -> None:
    """Refuse a disk that has too little room, before the work begins.

    Raises
    ------
    UserError
        With what is needed and what is free.
    """
    needed, free = room(plan, folder)
    if free < needed:
        raise UserError(
            f"{folder}: the maps need at least {needed / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB are free there; free some "
            "space, choose another place, or keep tables alone (--keep tables)."
        )


def room(plan: CohortPlan, folder: Path) -> tuple[int, int]:
    """Return how many bytes the maps take at least that are not there yet, and how many are free; the folder need not be there."""
    place = next((one for one in (folder, *folder.absolute().parents) if one.is_dir()), Path.cwd())
    return least_size(plan, folder), shutil.disk_usage(place).free
