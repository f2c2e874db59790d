"""Running jobs: slice by slice, side by side, every step reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from napari_segxai.canvas import Canvas
from napari_segxai.engine.memory import guarded
from napari_segxai.engine.passes import Step, Steps
from napari_segxai.engine.question import Finding, Question
from napari_segxai.engine.sharing import Shared

if TYPE_CHECKING:
    from napari_segxai.explaining import Job
    from napari_segxai.explanation import Explanation


def steps_of(jobs: Sequence[Job]) -> Steps[list[Explanation]]:
    """Run jobs of one model and image side by side: what they ask of the network alike is run once.

    ``step.partial()`` gives the explanations so far.
    """
    start = time.perf_counter()
    first = jobs[0]
    canvases = [Canvas(job) for job in jobs]
    slices, cost = first.slices, sum(job.planned.cost for job in jobs)
    with first.model.in_use(first.device), guarded(first.device):
        for position, index in enumerate(slices):
            prepared = first.model.prepare(first.image, index)
            shared = Shared() if len(jobs) > 1 else None
            questions = [job.question(prepared, shared) for job in jobs]
            rounds = _rounds(jobs, questions, shared)
            prefix = f"slice {index}: " if len(slices) > 1 else ""
            while True:
                try:
                    steps = next(rounds)
                except StopIteration as done:
                    for canvas, question, finding in zip(canvases, questions, done.value, strict=True):
                        canvas.seconds = time.perf_counter() - start
                        canvas.add(question, finding, index)
                    break
                for canvas in canvases:
                    canvas.seconds = time.perf_counter() - start
                done_cost, total = sum(s.done for s in steps), sum(s.total for s in steps)
                if len(slices) > 1:
                    total = cost * len(slices)
                    done_cost = min(position * cost + done_cost, total)
                parts = [
                    canvas.partial(question, step.partial, index)
                    for canvas, question, step in zip(canvases, questions, steps, strict=True)
                ]
                yield Step(done_cost, total, prefix + steps[0].note, _partial_of(parts))
            for canvas in canvases:
                canvas.seconds = time.perf_counter() - start
    return [canvas.explanation(partial=False) for canvas in canvases]


def _rounds(
    jobs: Sequence[Job], questions: Sequence[Question], shared: Shared | None
) -> Generator[list[Step], None, list[Finding]]:
    """Let every question take a step in turn; yield the last step of each, return what each has found."""
    work = [job.answer(question) for job, question in zip(jobs, questions, strict=True)]
    steps: list[Step] = [question.step("starting") for question in questions]
    found: dict[int, Finding] = {}
    while len(found) < len(jobs):
        if shared is not None:
            shared.start_round()
        for k, steps_of_one in enumerate(work):
            if k in found:
                continue
            if shared is not None:
                shared.next_question()
            try:
                steps[k] = next(steps_of_one)
            except StopIteration as done:
                found[k] = done.value
                steps[k] = Step(steps[k].total, steps[k].total, steps[k].note, partial(_value, done.value))
        if len(found) < len(jobs):
            yield steps
    return [found[k] for k in range(len(jobs))]


def _value(finding: Finding) -> Finding:
    return finding


def _partial_of(
    parts: Sequence[Callable[[], Explanation] | None],
) -> Callable[[], list[Explanation]] | None:
    """Return what makes all explanations so far; None while one of them has nothing to show."""
    makers = [part for part in parts if part is not None]
    return (lambda: [make() for make in makers]) if len(makers) == len(parts) else None
