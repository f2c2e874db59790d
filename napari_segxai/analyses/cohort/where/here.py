"""Case by case in this process."""

from __future__ import annotations

from napari_segxai.analyses.cohort.where.cases import UNIT, case_steps, threads
from napari_segxai.analyses.cohort.where.task import Task
from napari_segxai.core.progress import Step, Steps, relay


def steps_here(task: Task) -> Steps[None]:
    """Do all cases, one after the other."""
    total, size = task.total, UNIT * len(task.jobs)
    with threads(task.plan.threads):
        for number, (case, place) in enumerate(task.cases):
            note = f"case {number + 1} of {len(task.cases)}, {case.id}"

            def reported(step: Step, before: int = size * number, note: str = note) -> Step:
                task.check()
                return Step(before + step.done, total, f"{note}: {step.note}", task.so_far)

            yield from relay(case_steps(task.plan, task.jobs, case, place), reported)
