"""Running plans: slice by slice, side by side, every step reported."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial

import torch

from napari_segxai.analyses.explain.assemble import Assembler
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.explain.windows_needed import remember_windows
from napari_segxai.core.progress import Step, Steps, relay
from napari_segxai.core.target import Component
from napari_segxai.core.text_table import listed
from napari_segxai.engine.execution.batched_optimization import StepBatcher
from napari_segxai.engine.execution.forward_cache import ForwardCache
from napari_segxai.engine.execution.modes import in_usual_modes
from napari_segxai.engine.finding import OF_A_MISS, EmptyRegion, Finding, NotDrawn
from napari_segxai.engine.masking.baselines import check_baseline
from napari_segxai.engine.primitives.gradient_check import known_to_reach
from napari_segxai.engine.question import Question
from napari_segxai.methods.registry import for_misses
from napari_segxai.models.inference.memory import guarded
from napari_segxai.models.preprocessing.prepared import Prepared

MANY_PASSES = 32
"""Forward passes from which a fused network is worth making."""


def explanation_steps(plan: ExplanationPlan) -> Steps[Explanation]:
    """Run one plan; see `explain_steps`."""

    def only(step: Step) -> Step:
        return replace(step, partial=step.partial and partial(_first, step.partial))

    found = yield from relay(explanations_steps([plan]), only)
    return found[0]


@in_usual_modes
def explanations_steps(plans: Sequence[ExplanationPlan]) -> Steps[list[Explanation]]:
    """Run several plans of one model side by side: passes that they have in common are run once, the others in one batch.

    ``step.partial()`` gives the explanations so far.
    """
    start = time.perf_counter()
    first = plans[0]
    canvases = [Assembler(plan) for plan in plans]
    many = max(len(plan.slices) for plan in plans)
    expected = sum(plan.passes.cost for plan in plans)
    before = 0  # of that, what earlier slices were expected to take
    with first.model.in_use(first.device), guarded(first.device):
        for position in range(many):
            going = [k for k, plan in enumerate(plans) if position < len(plan.slices)]
            cache, batcher = (ForwardCache(), StepBatcher()) if len(going) > 1 else (None, None)
            prepared: dict[tuple[int, int | None], Prepared] = {}
            questions = {}
            for k in going:
                plan, index = plans[k], plans[k].slices[position]
                key = id(plan.image), index
                if key not in prepared:
                    prepared[key] = plan.model.prepare(plan.image, index)
                questions[k] = question_of(plan, prepared[key], cache, batcher)
            rounds = _rounds([plans[k] for k in going], list(questions.values()), cache)
            prefix = f"slice {first.slices[position]}: " if many > 1 and 0 in going else ""
            while True:
                try:
                    steps = next(rounds)
                except StopIteration as done:
                    seconds = time.perf_counter() - start
                    for k, finding in zip(going, done.value, strict=True):
                        canvases[k].seconds = seconds
                        canvases[k].add(questions[k], finding, plans[k].slices[position])
                        remember_windows(questions[k])
                    break
                seconds = time.perf_counter() - start
                for canvas in canvases:
                    canvas.seconds = seconds
                done_cost, total = sum(s.done for s in steps), sum(s.total for s in steps)
                if many > 1:
                    done_cost, total = min(before + done_cost, expected), expected
                last = dict(zip(going, steps, strict=True))
                parts = [
                    canvas.partial(questions[k], last[k].partial, plans[k].slices[position])
                    if k in last
                    else partial(canvas.explanation, partial=True)
                    for k, canvas in enumerate(canvases)
                ]
                yield Step(done_cost, total, prefix + steps[0].note, _partial_of(parts))
            before += sum(plans[k].planned.cost for k in going)
    return [canvas.explanation(partial=False) for canvas in canvases]


def _rounds(
    plans: Sequence[ExplanationPlan], questions: Sequence[Question], cache: ForwardCache | None
) -> Generator[list[Step], None, list[Finding]]:
    """Let every question take a step in turn; yield the last step of each, return what each has found."""
    work = [answer(plan, question) for plan, question in zip(plans, questions, strict=True)]
    steps: list[Step] = [question.step("starting") for question in questions]
    found: dict[int, Finding] = {}
    while len(found) < len(plans):
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
        if len(found) < len(plans):
            yield steps
    return [found[k] for k in range(len(plans))]


def _value(finding: Finding) -> Finding:
    return finding


def _partial_of(
    parts: Sequence[Callable[[], Explanation] | None],
) -> Callable[[], list[Explanation]] | None:
    """Return what makes all explanations so far; None while one of them has nothing to show."""
    makers = [part for part in parts if part is not None]
    return (lambda: [make() for make in makers]) if len(makers) == len(parts) else None


def _first(make: Callable[[], list[Explanation]]) -> Explanation:
    return make()[0]


def question_of(
    plan: ExplanationPlan,
    prepared: Prepared,
    cache: ForwardCache | None = None,
    batcher: StepBatcher | None = None,
) -> Question:
    """Return the question about an image as the network gets it; the model is in use."""
    planned, model = plan.planned, plan.model
    for one in (
        plan.options,
        *getattr(plan.options, "wrapped", ())[1:],
    ):  # a lazy image was not asked in `make`
        check_baseline(getattr(one, "baseline", "zero"), model, plan.image)
    if planned.cost >= MANY_PASSES and not plan.method.looks_inside(plan.options):
        model = model.given(prepared).fused(prepared.tensor.to(plan.device))
    question = Question(
        model,
        plan.image,
        prepared,
        plan.target,
        device=plan.device,
        seed=plan.seed,
        planned=planned,
        precision=plan.precision,
        cache=cache,
        batcher=batcher,
    )
    question.references = plan.references
    if model.changes:
        question.executor.notes["network"] = str(model.changes)
    inside = plan.method.looks_inside(plan.options)
    named = plan.method.layers_of(plan.options) if inside else {}
    for name, chosen in named.items():  # what "bottleneck" stands for, and why
        layer = plan.model.find_layer(chosen)
        if layer.elsewhere:
            question.warnings.append(
                f"network layer {layer.name} {layer.elsewhere}, so that its map, which is drawn over the whole image, does not "
                "lie where it should; choose another, or a method without network layers."
            )
        if layer.aliases:
            question.executor.notes[f"network {name}"] = f"{layer.name}: {layer.reason}"
    return question


def answer(plan: ExplanationPlan, question: Question) -> Steps[Finding]:
    """Run the method on a question."""
    if "gradients" in plan.method.needs:  # refused before the work where none arrives
        inside = "network layers" in plan.method.needs
        names = list(plan.method.layers_of(plan.options).values()) if inside else []
        known_to_reach(question, names)
    assert plan.method.run is not None  # a method of images
    try:
        if plan.method.answers_drawn_alone(plan.options):
            question.drawn_object()
        finding = yield from plan.method.run(question, plan.options)
    except EmptyRegion as reason:
        if isinstance(reason, NotDrawn):
            question.nothing = f"{str(reason)[:-1]}{ask_of_misses(question)}."
        else:
            question.warnings.append(str(reason))
        return Finding(torch.zeros(question.grid), numbers={"status": "empty"})
    low, high = (float(value) for value in finding.map.aminmax())
    if not math.isfinite(high - low):
        question.warnings.append("the map held values that are not finite; they were set to 0.")
        finding = replace(finding, map=torch.nan_to_num(finding.map, 0.0, 0.0, 0.0))
    elif low == high == 0 and finding.numbers.get("status") != "hidden":
        why = finding.why_zero or "nothing that was examined changes the target."
        if not finding.why_zero and "gradients" in plan.method.needs:
            why = (
                "the gradient of the target is zero here, as behind saturated, clamped or rounded values, or "
                "where nothing that was examined matters."
            )
        question.warnings.append(f"the map is zero everywhere: {why}")
    if question.is_missed:
        told = f"{ask_of_misses(question)}." if low == high == 0 else f": {OF_A_MISS}"
        question.warnings.append(question.nothing_drawn + told)
    return finding


def ask_of_misses(question: Question) -> str:
    """Say which methods answer where the label is not drawn: the end of a sentence, or "" where none would."""
    if question.is_elsewhere or question.has_empty_band:
        return ""
    named = listed(for_misses(question.model.capabilities), "or")
    # Without a region, or with one that is found in the prediction, nobody has said where the label should be.
    unsaid = question.target.region is None or isinstance(question.target.region, Component)
    where = "choose the region where it should be and " if unsaid else ""
    return f"; to ask why it is missed, {where}use {named}"
