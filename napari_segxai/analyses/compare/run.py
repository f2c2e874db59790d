"""Comparing methods and maps: explained alike, measured alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from napari_segxai.analyses.compare.matching import check_map
from napari_segxai.analyses.compare.result import Comparison
from napari_segxai.analyses.explain.plan import ExplanationPlan, as_image
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.explain.run import explanations_steps, question_of
from napari_segxai.core.errors import UserError, number
from napari_segxai.core.image import Image
from napari_segxai.core.options import MOST
from napari_segxai.core.progress import Passes, Step, Steps, finish, relay
from napari_segxai.core.target import Target
from napari_segxai.engine.execution.modes import in_usual_modes
from napari_segxai.engine.question import Question
from napari_segxai.methods.noise_model import read_noise_model
from napari_segxai.methods.registry import find_method
from napari_segxai.metrics.functional.noise import NoiseModel
from napari_segxai.metrics.registry import Metric, all_metrics
from napari_segxai.metrics.table import choose, evaluate_steps, planned_passes
from napari_segxai.models.ground_truth import Truth, truth_of
from napari_segxai.models.inference.memory import guarded
from napari_segxai.models.registry import load_model
from napari_segxai.models.segmentation import SegmentationModel

METRICS = (
    "dice-explained",
    "saliency-ratio",
    "pps",
    "ips",
    "insertion-dice",
    "deletion-dice",
    "context-share",
)
"""What is measured unless asked otherwise."""

WITH_TRUTH = ("pointing-game-mask", "energy-pointing-game-mask", "f1-mask")
"""And with a truth."""

WITH_NOISE = ("ana", "srm")
"""And with a noise model."""

MethodSpec = str | tuple[str, Mapping[str, Any]]
"""A method by name, "rise:masks=100:cells=5", or ("rise", {"masks": 100})."""


def compare(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    target: Target | str | int,
    methods: Sequence[MethodSpec] = (),
    *,
    maps: Mapping[str, Explanation | np.ndarray] | None = None,
    truth: Truth | None = None,
    noise_model: NoiseModel | str | Path | None = None,
    metrics: Sequence[str] | str | None = None,
    controls: int = 1,
    seed: int = 0,
    device: str = "auto",
    slice: int | None = None,
    axis: int | None = None,
    progress: Callable[[Step], None] | None = None,
    **options: Any,
) -> Comparison:
    """Explain one prediction by several methods, and measure every map.

    Parameters
    ----------
    model, image, target, seed, device, slice, axis
        See `explain`. A 2D model on a volume needs a slice.
    methods
        Names, "name:parameter=value:parameter=value", or pairs of a name and its parameters.
    maps
        Maps that are there already, by name, on the image grid: they come first and are measured alike. Explanations
        have to be of this image, label, slice and model; arrays are taken as they are.
    truth
        True labels, on the image's grid or as an `Image` that knows where it lies; boolean: where this label is. See
        `truth.truth_labels` for labels that may overlap.
    noise_model
        For ANA and SRM: the file that u-noise saved as its `weights`, or a callable, see `metrics.noise.NoiseModel`.
    metrics
        Names, or "all"; by default a handful. See `list_metrics`.
    controls
        Random orders that go through insertion and deletion as well.
    progress
        Called with every step.
    **options
        Parameters of the metrics, such as threshold, binarise, baseline, steps.

    Raises
    ------
    UserError
        For anything that was asked wrongly, in one sentence.
    """
    steps = compare_steps(
        model, image, target, methods, maps=maps, truth=truth, noise_model=noise_model, metrics=metrics,
        controls=controls, seed=seed, device=device, slice=slice, axis=axis, **options,
    )  # fmt: skip
    return finish(steps, progress)


def compare_steps(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    target: Target | str | int,
    methods: Sequence[MethodSpec] = (),
    **asked: Any,
) -> Steps[Comparison]:
    """`compare`, one step at a time; what is wrong with the question is raised at the call.

    ``step.partial()`` gives the comparison so far.
    """
    return plan_comparison(model, image, target, methods, **asked).steps()


def plan_comparison(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    target: Target | str | int,
    methods: Sequence[MethodSpec] = (),
    *,
    maps: Mapping[str, Explanation | np.ndarray] | None = None,
    truth: Truth | None = None,
    noise_model: NoiseModel | str | Path | None = None,
    metrics: Sequence[str] | str | None = None,
    controls: int = 1,
    seed: int = 0,
    device: str = "auto",
    slice: int | None = None,
    axis: int | None = None,
    **options: Any,
) -> Plan:
    """Check a comparison and say what it costs, without running anything; see `compare`.

    Raises
    ------
    UserError
        For anything that was asked wrongly.
    """
    specs = [read_method(spec) for spec in ([methods] if isinstance(methods, str) else methods)]
    given = dict(maps or {})
    if not specs and not given:
        raise UserError("name one method at least.")
    if not isinstance(model, SegmentationModel):
        model = load_model(model)
    image = as_image(image, model, axis)
    for name, map in given.items():
        check_map(name, map, model, image, target, slice)
    asked = {"seed": seed, "device": device, "slice": slice}
    for method, parameters in specs:
        find_method(method).make_options(parameters)  # raises where one is none, such as seed or model
    named = {
        name: ExplanationPlan.make(model, image, target, method, **asked, **parameters)
        for name, (method, parameters) in zip(names_of(specs, given), specs, strict=True)
    }
    job = next(iter(named.values()), None)
    job = job or ExplanationPlan.make(model, image, target, "vanilla-gradient", **asked)
    return Plan.make(job, named, given, truth, noise_model, metrics, controls, options)


def list_metrics() -> list[dict[str, Any]]:
    """List the metrics.

    Returns
    -------
    list of dict
        With the keys name, title, unit, better, family, source, form, summary, needs.
    """
    return [metric.as_json() for metric in all_metrics()]


def read_method(spec: MethodSpec) -> tuple[str, dict[str, Any]]:
    """Read "name:parameter=value" or (name, parameters).

    Raises
    ------
    UserError
        If it is neither.
    """
    if not isinstance(spec, str):
        name, parameters = spec
        return name, dict(parameters)
    name, *parts = spec.split(":")
    pairs = [part.partition("=") for part in parts]
    if any(not middle or not key for key, middle, _ in pairs):
        raise UserError(f"method {spec!r}: write its parameters as in rise:masks=100:cells=5.")
    return name.strip(), {key.strip(): value.strip() for key, _, value in pairs}


# -- how -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A comparison that has been checked and can be run.

    Attributes
    ----------
    job
        Of what: model, image, target, seed, device and slice.
    jobs
        By name: the methods to be run.
    maps
        By name: the maps that are there.
    truth
        Boolean, on the image grid: where the label really is, if known.
    noise_model
        For ANA and SRM, if known.
    metrics, controls, options
        What is measured; see `compare`.
    warnings
        What was done to bring the truth to the image grid.
    together
        How many jobs run side by side; what they have in common is run once, but their times are not their own.
    """

    job: ExplanationPlan
    jobs: Mapping[str, ExplanationPlan]
    maps: Mapping[str, Explanation | np.ndarray]
    truth: np.ndarray | None
    noise_model: NoiseModel | None
    metrics: tuple[Metric, ...]
    controls: int
    options: Mapping[str, Any]
    warnings: Sequence[str] = ()
    together: int = 1

    @classmethod
    def make(
        cls,
        job: ExplanationPlan,
        jobs: Mapping[str, ExplanationPlan],
        maps: Mapping[str, Explanation | np.ndarray],
        truth: Truth | None,
        noise_model: NoiseModel | str | Path | None,
        metrics: Sequence[str] | str | None,
        controls: int,
        options: Mapping[str, Any],
    ) -> Plan:
        """Check truth, noise model, metrics and options."""
        if len(job.slices) > 1:
            raise UserError(
                f"{job.model.name} sees slices and {job.image.name} is a volume; choose one slice to compare maps on."
            )
        label = job.model.label_index(job.target.label)
        wanted, notes = (None, []) if truth is None else truth_of(truth, job.image, job.model, label)
        if isinstance(noise_model, str | Path):
            noise_model = read_noise_model(noise_model, job.model, label)
        chosen = _chosen(metrics, truth=truth is not None, noise_model=noise_model is not None)
        plan = cls(job, jobs, maps, wanted, noise_model, chosen, controls, options, notes)
        if isinstance(controls, bool) or not isinstance(controls, int) or not 0 <= controls <= MOST:
            shown = number(controls) if isinstance(controls, int) else repr(controls)
            raise UserError(f"controls is {shown}; it has to be a whole number from 0 to {MOST}.")
        plan.passes.bounded("this comparison")  # raises also where an option is wrong
        return plan

    @property
    def measuring(self) -> Passes:
        """The passes that the metrics take, at most."""
        return planned_passes(self.metrics, len(self.jobs) + len(self.maps), self.controls, **self.options)

    @property
    def passes(self) -> Passes:
        """The passes that are expected."""
        return sum((job.passes for job in self.jobs.values()), self.measuring)

    def steps(self) -> Steps[Comparison]:
        """Run; see `compare_steps`."""
        given = {name: map for name, map in self.maps.items() if isinstance(map, Explanation)}
        arrays = {
            name: map.map if isinstance(map, Explanation) else np.asarray(map)
            for name, map in self.maps.items()
        }
        found = Comparison(
            self.job.image,
            self.job.target,
            given,
            arrays,
            self.metrics,
            overlapping=self.job.model.overlapping,
            label=self.job.model.label_index(self.job.target.label),
            truth=self.truth,
            warnings=list(self.warnings),
        )
        return _steps(self, found)


@in_usual_modes
def _steps(plan: Plan, found: Comparison) -> Steps[Comparison]:
    done, measuring = 0, plan.measuring
    total = sum(one.passes.cost for one in plan.jobs.values()) + measuring.cost
    listed = list(plan.jobs)
    for names in (listed[k : k + plan.together] for k in range(0, len(listed), plan.together)):
        jobs = [plan.jobs[name] for name in names]
        cost = sum(job.passes.cost for job in jobs)
        explaining, title = (
            explanations_steps(jobs),
            names[0] + (f" to {names[-1]}" if len(names) > 1 else ""),
        )

        def explained(step: Step, done: int = done, cost: int = cost, title: str = title) -> Step:
            return Step(done + min(step.done, cost), total, f"{title}: {step.note}", partial(_so_far, found))

        explanations = yield from relay(explaining, explained)
        done += cost
        for name, explanation in zip(names, explanations, strict=True):
            found.explanations[name], found.maps[name] = explanation, explanation.map
            found.prediction = explanation.prediction
    start = time.perf_counter()
    job = plan.job
    with job.model.in_use(job.device), guarded(job.device):
        question = _question(job, measuring)
        measured = evaluate_steps(
            found.maps,
            question,
            truth=found.truth,
            noise_model=plan.noise_model,
            metrics=[metric.name for metric in plan.metrics],
            controls=plan.controls,
            **plan.options,
        )
        found.rows = yield from relay(
            measured,
            lambda step: Step(min(done + step.done, total), total, step.note, partial(_so_far, found)),
        )
        found.passes = question.passes
    if found.prediction is None:
        found.prediction = job.model.predict(job.image, slice=job.slices[0], device=job.device)
    found.seconds = time.perf_counter() - start
    return found


def _question(job: ExplanationPlan, planned: Passes) -> Question:
    """Return the job's question, with the passes that measuring takes."""
    question = question_of(job, job.model.prepare(job.image, job.slices[0]))
    question.planned = planned
    return question


def _so_far(found: Comparison) -> Comparison:
    return replace(
        found,
        explanations=dict(found.explanations),
        maps=dict(found.maps),
        rows=list(found.rows),
        partial=True,
    )


def _chosen(metrics: Sequence[str] | str | None, **known: bool) -> tuple[Metric, ...]:
    """Return the metrics by name; by default those for which `truth` and `noise_model` are known."""
    if metrics == "all":
        return tuple(choose(None, **known))
    if isinstance(metrics, str):
        metrics = [part.strip() for part in metrics.split(",")]
    usual = METRICS + WITH_TRUTH * known["truth"] + WITH_NOISE * known["noise_model"]
    return tuple(choose(metrics or usual, **known))


def names_of(specs: Sequence[tuple[str, Mapping[str, Any]]], taken: Collection[str] = ()) -> list[str]:
    """Name methods so that no two are called the same, nor as one that is taken."""
    methods = [method for method, _ in specs]
    names: list[str] = []
    for method, parameters in specs:
        name = method
        if methods.count(method) > 1 and parameters:
            name += " " + ", ".join(f"{key}={value}" for key, value in parameters.items())
        while name in names or name in taken:
            name += "'"
        names.append(name)
    return names
