"""Running jobs: slice by slice, side by side, every step reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from napari_segxai.analyses.explain.assemble import Canvas
from napari_segxai.core.progress import Step, Steps
from napari_segxai.engine.execution.batched_optimization import StepBatcher
from napari_segxai.engine.execution.forward_cache import ForwardCache
from napari_segxai.engine.execution.modes import in_usual_modes
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.question import Question
from napari_segxai.models.inference.memory import guarded

if TYPE_CHECKING:
    from napari_segxai.analyses.explain.plan import Job
    from napari_segxai.analyses.explain.result import Explanation
    from napari_segxai.models.preprocessing.prepared import Prepared


@in_usual_modes
def steps_of(jobs: Sequence[Job]) -> Steps[list[Explanation]]:
    """Run jobs of one model side by side: what they ask of the network alike is run once, the rest in one batch.

    ``step.partial()`` gives the explanations so far.
    """
    start = time.perf_counter()
    first = jobs[0]
    canvases = [Canvas(job) for job in jobs]
    many = max(len(job.slices) for job in jobs)
    expected = sum(job.passes.cost for job in jobs)
    before = 0  # of that, what earlier slices were expected to take
    with first.model.in_use(first.device), guarded(first.device):
        for position in range(many):
            going = [k for k, job in enumerate(jobs) if position < len(job.slices)]
            cache, batcher = (ForwardCache(), StepBatcher()) if len(going) > 1 else (None, None)
            prepared: dict[tuple[int, int | None], Prepared] = {}
            questions = {}
            for k in going:
                job, index = jobs[k], jobs[k].slices[position]
                key = id(job.image), index
                if key not in prepared:
                    prepared[key] = job.model.prepare(job.image, index)
                questions[k] = job.question(prepared[key], cache, batcher)
            rounds = _rounds([jobs[k] for k in going], list(questions.values()), cache)
            prefix = f"slice {first.slices[position]}: " if many > 1 and 0 in going else ""
            while True:
                try:
                    steps = next(rounds)
                except StopIteration as done:
                    seconds = time.perf_counter() - start
                    for k, finding in zip(going, done.value, strict=True):
                        canvases[k].seconds = seconds
                        canvases[k].add(questions[k], finding, jobs[k].slices[position])
                    break
                seconds = time.perf_counter() - start
                for canvas in canvases:
                    canvas.seconds = seconds
                done_cost, total = sum(s.done for s in steps), sum(s.total for s in steps)
                if many > 1:
                    done_cost, total = min(before + done_cost, expected), expected
                last = dict(zip(going, steps, strict=True))
                parts = [
                    canvas.partial(questions[k], last[k].partial, jobs[k].slices[position])
                    if k in last
                    else partial(canvas.explanation, partial=True)
                    for k, canvas in enumerate(canvases)
                ]
                yield Step(done_cost, total, prefix + steps[0].note, _partial_of(parts))
            before += sum(jobs[k].planned.cost for k in going)
    return [canvas.explanation(partial=False) for canvas in canvases]


def _rounds(
    jobs: Sequence[Job], questions: Sequence[Question], cache: ForwardCache | None
) -> Generator[list[Step], None, list[Finding]]:
    """Let every question take a step in turn; yield the last step of each, return what each has found."""
    work = [job.answer(question) for job, question in zip(jobs, questions, strict=True)]
    steps: list[Step] = [question.step("starting") for question in questions]
    found: dict[int, Finding] = {}
    while len(found) < len(jobs):
        if cache is not None:
            cache.start_round()
        for k, steps_of_one in enumerate(work):
            if k in found:
                continue
            if cache is not None:
                cache.next_question()
            try:
                step = next(steps_of_one)
                # What could be shown before can be shown still: it is made of what the method holds now.
                steps[k] = replace(step, partial=steps[k].partial) if step.partial is None else step
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
