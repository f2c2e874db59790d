"""Running a cohort in this process: case by case, job by job; what is there already is not done again."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Generator
from functools import partial
from pathlib import Path

from napari_segxai.analyses.cohort.inputs import Inputs
from napari_segxai.analyses.cohort.jobs import Done, do, read_done
from napari_segxai.analyses.cohort.plan import CohortPlan
from napari_segxai.analyses.cohort.result import CASES, Cohort, collect, facts, save_tables
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Step, Steps, relay
from napari_segxai.io import saving
from napari_segxai.io.held import look

try:
    import fcntl
except ImportError:  # Windows; there two runs of one folder are not told of each other
    fcntl = None  # type: ignore[assignment]

LOCK = ".segxai-running"

UNIT = 1000
"""What a job counts in the progress: what it really costs is known when its image is read."""


def cohort_steps(plan: CohortPlan, folder: Path, shard: tuple[int, int] = (1, 1)) -> Steps[Cohort]:
    """Run a plan; see `run_cohort`.

    The folder is the state: whoever stops it, or kills it, loses what the job in hand has done.
    """
    record = facts(plan)
    with _alone(folder, shard):
        check_room(plan, folder)
        save_tables(collect(folder, record))
        cases, jobs, folders = plan.shard(*shard), plan.jobs, plan.folders
        total, done = UNIT * len(cases) * len(jobs), 0
        so_far = partial(collect, folder, record)
        for number, case in enumerate(cases, 1):
            inputs, place = Inputs(case), folder / CASES / folders[case.id]
            for job in jobs:
                note = f"case {number} of {len(cases)}, {case.id}: {job.title}"
                kept = read_done(place / job.place)
                if kept is None or kept.error or kept.key != plan.key(case, job):

                    def reported(step: Step, done: int = done, note: str = note) -> Step:
                        share = round(UNIT * step.done / max(step.total, 1))
                        return Step(done + min(share, UNIT), total, f"{note}, {step.note}", so_far)

                    work: Steps[Done] = do(plan, case, job, inputs, place)
                    yield from relay(work, reported)
                done += UNIT
                yield Step(done, total, note, so_far)
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
            return saving.least_size(case.read(), len(plan.labels) * len(plan.methods)) * len(todo)
    return 0


def check_room(plan: CohortPlan, folder: Path) -> None:
    """Refuse a disk that has too little room, before the work begins.

    Raises
    ------
    UserError
        With what is needed and what is free.
    """
    needed, free = least_size(plan, folder), shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: the maps need at least {needed / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB are free there; free some "
            "space, choose another place, or keep tables alone (--keep tables)."
        )


@contextlib.contextmanager
def _alone(folder: Path, shard: tuple[int, int]) -> Generator[None]:
    """While open, no other run of the whole, or of the same part, writes to the folder.

    Raises
    ------
    UserError
        If one does, or the folder holds something else.
    """
    held = look(folder) if folder.is_dir() else None
    if held is not None and held.kind not in ("", "cohort"):
        raise UserError(f"{folder} holds {held.words}; name another folder for the cohort.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: the folder of the cohort cannot be made ({error.strerror}); name another one."
        ) from None
    parts = [LOCK] if shard == (1, 1) else [LOCK, f"{LOCK}-{shard[0]}-{shard[1]}"]
    with contextlib.ExitStack() as stack:
        for number, name in enumerate(parts):
            try:
                file = stack.enter_context((folder / name).open("a"))
            except OSError as error:
                raise UserError(
                    f"{folder / name}: cannot be written ({error.strerror}); name another folder for the cohort."
                ) from None
            if fcntl is None:
                continue
            shared = len(parts) > 1 and number == 0  # parts of one run stand beside each other
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"another run is writing to {folder}; wait for it, or name another folder."
                ) from None
            except OSError:  # a file system without locks
                continue
        yield
