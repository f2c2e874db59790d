"""Explaining a prediction: the one way that scripts, the command line and the widgets walk."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
import torch
from torch import nn

from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.explain.run import steps_of
from napari_segxai.core.errors import UserError, number
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Passes, Step, Steps, finish
from napari_segxai.core.target import Component, Target
from napari_segxai.engine.execution.batched_optimization import StepBatcher
from napari_segxai.engine.execution.forward_cache import ForwardCache
from napari_segxai.engine.execution.mixed_precision import Setting
from napari_segxai.engine.finding import OF_A_MISS, EmptyRegion, Finding, NotDrawn
from napari_segxai.engine.masking.baselines import check_baseline
from napari_segxai.engine.primitives.gradient_check import check_gradients
from napari_segxai.engine.question import Question
from napari_segxai.methods.registry import Method, Size, all_methods, find_method, for_misses
from napari_segxai.models.inference.device import choose_device
from napari_segxai.models.preprocessing.prepared import Prepared
from napari_segxai.models.registry import load_model
from napari_segxai.models.segmentation import SegmentationModel

T = TypeVar("T")

HIGHEST_SEED = 2**32 - 1
"""The largest that all generators of random numbers take."""

MANY_PASSES = 32
"""Forward passes from which on a quicker twin of the network is worth making."""


def list_methods() -> list[dict[str, Any]]:
    """List the methods.

    Returns
    -------
    list of dict
        With the keys name, title, family, question, needs, spatial_dims, summary, source, parameters, presets, passes;
        by question.
    """
    return [method.as_json() for method in all_methods()]


def explain(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    target: Target | str | int,
    method: str = "misure",
    *,
    seed: int = 0,
    device: str = "auto",
    slice: int | None = None,
    axis: int | None = None,
    precision: Setting = "auto",
    progress: Callable[[Step], None] | bool | None = None,
    **params: Any,
) -> Explanation:
    """Explain why a network segmented an object.

    Parameters
    ----------
    model
        A `SegmentationModel`, or what `load_model` takes without a card.
    image
        An `Image`, or a plain 2D or 3D array without channels.
    target
        A `Target`, or a label for the target of its predicted pixels.
    method
        Name of the method; see `list_methods`.
    seed
        Seed of everything random. The same seed gives the same result, on the CPU bit for bit.
    device
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    slice
        For a 2D model on a volume: the slice, counted as napari shows the volume. All slices by default.
    axis
        For a 2D model on a volume: the axis across which the slices lie, counted as napari shows the volume; of a
        volume that knows its orientation 0 is axial, 1 coronal, 2 sagittal. What the model card says by default, else 0.
    precision
        "auto": bfloat16 for methods that average many forward passes, where the device computes in it and a check on
        the first of them shows the same ranking; the record tells. "float32": never.
    progress
        Called with every `Step`; True shows a progress bar in the terminal.
    **params
        Parameters of the method, and ``preset="..."``.

    Returns
    -------
    Explanation
        On the grid of the image.

    Raises
    ------
    UserError
        For anything that was asked wrongly, in one sentence.
    OutOfMemory
        If the device has too little memory even for a single image.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> model = sx.load_model("selfie")  # doctest: +SKIP
    >>> image = sx.read_image("portrait.png")  # doctest: +SKIP
    >>> sx.explain(model, image, "person", method="seg-grad-cam").map.shape  # doctest: +SKIP
    (512, 512)
    """
    job = explain_steps(
        model, image, target, method,
        seed=seed, device=device, slice=slice, axis=axis, precision=precision, **params,
    )  # fmt: skip
    return finish(job, progress)


def explain_steps(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    target: Target | str | int,
    method: str = "misure",
    *,
    seed: int = 0,
    device: str = "auto",
    slice: int | None = None,
    axis: int | None = None,
    precision: Setting = "auto",
    **params: Any,
) -> Steps[Explanation]:
    """`explain`, one step at a time: yields `Step` and returns the `Explanation`.

    What is wrong with the question is raised at the call, before the first step. Closing the generator stops
    the work and restores the model; ``step.partial()`` gives the `Explanation` so far, where there is one.
    """
    job = Job.make(
        model, image, target, method,
        seed=seed, device=device, slice=slice, axis=axis, precision=precision, **params,
    )  # fmt: skip
    return job.steps()


def explain_all(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray | Sequence[Image | np.ndarray],
    targets: Sequence[Target | str | int],
    method: str = "misure",
    *,
    progress: Callable[[Step], None] | bool | None = None,
    **params: Any,
) -> list[Explanation]:
    """Explain several labels, regions or images at once, one `Explanation` each, as `explain` would.

    Forward passes that do not depend on the target are run once for all of them, so that RISE, occlusion, SHAP,
    Sobol indices and LIME cost little more for ten labels than for one. Methods that descend a gradient, such as
    MiSuRe, go through the network in one batch; that may change the last digits of their numbers.

    Parameters
    ----------
    image
        One image, or a list of images: one per target, or several with one target.
    targets
        See `explain`, as for all other parameters.

    Returns
    -------
    list of Explanation
        In the order of the targets, or of the images. The record's ``seconds`` are those of all together.
    """
    job = explain_all_steps(model, image, targets, method, **params)
    return finish(job, progress)


def explain_all_steps(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray | Sequence[Image | np.ndarray],
    targets: Sequence[Target | str | int],
    method: str = "misure",
    **params: Any,
) -> Steps[list[Explanation]]:
    """`explain_all`, one step at a time: yields `Step` and returns the explanations."""
    if isinstance(targets, Target | str | int) or not targets:
        raise UserError("targets: give a list of targets or labels, one at least.")
    if not isinstance(model, SegmentationModel):
        model = load_model(model)
    given = list(image) if isinstance(image, list | tuple) else [image]
    images = [Image.of(one) for one in given]
    count = max(len(images), len(targets))
    if not images or len(images) not in (1, count) or len(targets) not in (1, count):
        raise UserError(
            f"{len(images)} images and {len(targets)} targets do not pair up; give one of either, or as many."
        )
    images, wanted = images * (count // len(images)), list(targets) * (count // len(targets))
    pairs = zip(images, wanted, strict=True)
    return steps_of([Job.make(model, one, target, method, **params) for one, target in pairs])


@dataclass(frozen=True)
class Job:
    """A question that has been checked and can be run."""

    model: SegmentationModel
    image: Image
    target: Target
    method: Method
    options: Any
    seed: int
    device: torch.device
    slice: int | None
    precision: Setting = "auto"

    @classmethod
    def make(
        cls,
        model: SegmentationModel | nn.Module | str | Path,
        image: Image | np.ndarray,
        target: Target | str | int,
        method: str = "misure",
        *,
        seed: int = 0,
        device: str = "auto",
        slice: int | None = None,
        axis: int | None = None,
        precision: Setting = "auto",
        **params: Any,
    ) -> Job:
        """Check everything that can be checked without running the network.

        Raises
        ------
        UserError
            For anything that was asked wrongly.
        """
        if not isinstance(model, SegmentationModel):
            model = load_model(model)
        image = as_image(image, model, axis)
        if not isinstance(target, Target):
            target = Target(target)
        found = find_method(method)
        options = found.make_options(params)
        model.label_index(target.label)
        if "network layers" in found.needs:
            if not model.has_layers:
                model.find_layer("bottleneck")  # raises, saying why and what to use
            for name in found.layer_parameters:
                model.find_layer(getattr(options, name))
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= HIGHEST_SEED:
            shown = number(seed) if isinstance(seed, int) else repr(seed)
            raise UserError(f"seed {shown} has to be a whole number from 0 to {HIGHEST_SEED}.")
        if precision not in get_args(Setting):
            raise UserError(f"precision {precision!r} is unknown; choose {' or '.join(get_args(Setting))}.")
        if image.time_axis is not None:
            image.channels_first()  # raises, saying how to choose a time point
        job = cls(model, image, target, found, options, seed, choose_device(device), slice, precision)
        placements = job.slices
        if placements == [None]:
            model.refuse_slice(image, slice)
        model.prepare_check(image, placements[0])
        for one in (options, *getattr(options, "wrapped", ())[1:]):
            check_baseline(getattr(one, "baseline", "zero"), model, image)
        job.passes.bounded(method)  # raises also where the parameters do not fit the image
        return job

    @property
    def slices(self) -> list[int | None]:
        """The slices that are explained, one after the other; [None] for the whole image."""
        many = self.model.slices(self.image)
        if many is None:
            return [None]
        return [self.slice] if self.slice is not None else list(range(many))

    @property
    def unit(self) -> str:
        """What a value of the map is, in a few words."""
        score = self.target.score.replace("_", "-")
        of = f"summed {score}" if self.target.reduction == "sum" else score
        return self.method.unit_of(self.options).replace("{score}", of)

    @property
    def passes(self) -> Passes:
        """The passes that are expected."""
        return self.planned * len(self.slices)

    @property
    def planned(self) -> Passes:
        """The passes that are expected for one slice."""
        return self.method.passes(self.options, self.size)

    @property
    def size(self) -> Size:
        """What the number of passes can depend on."""
        return Size(self.model.grid_for(self.image, self.slices[0]), lambda: self.model.example_layers)

    def steps(self) -> Steps[Explanation]:
        """Run; see `explain_steps`."""
        work = steps_of([self])
        while True:
            try:
                step = next(work)
            except StopIteration as done:
                return done.value[0]
            so_far = None if step.partial is None else partial(_first, step.partial)
            yield Step(step.done, step.total, step.note, so_far)

    def question(
        self, prepared: Prepared, cache: ForwardCache | None = None, batcher: StepBatcher | None = None
    ) -> Question:
        """Return what is asked about an image as the network gets it; the model is in use."""
        planned, model = self.planned, self.model
        for one in (
            self.options,
            *getattr(self.options, "wrapped", ())[1:],
        ):  # a lazy image was not asked in `make`
            check_baseline(getattr(one, "baseline", "zero"), model, self.image)
        if planned.cost >= MANY_PASSES and not self.method.looks_inside(self.options):
            model = model.quick(prepared.tensor.to(self.device))
        question = Question(
            model,
            self.image,
            prepared,
            self.target,
            device=self.device,
            seed=self.seed,
            planned=planned,
            precision=self.precision,
            cache=cache,
            batcher=batcher,
        )
        if model.changes:
            question.executor.notes["network"] = model.changes
        inside = self.method.looks_inside(self.options)
        for name in self.method.layer_parameters if inside else ():  # what "bottleneck" stands for, and why
            layer = self.model.find_layer(getattr(self.options, name))
            if layer.elsewhere:
                question.warnings.append(
                    f"network layer {layer.name} {layer.elsewhere}, so that its map, which is drawn over the whole image, does not "
                    "lie where it should; choose another, or a method without network layers."
                )
            if layer.aliases:
                question.executor.notes[f"network {name}"] = f"{layer.name}: {layer.reason}"
        return question

    def answer(self, question: Question) -> Steps[Finding]:
        """Run the method on a question."""
        if "gradients" in self.method.needs:  # refused before the work where none arrives
            inside = "network layers" in self.method.needs
            names = [getattr(self.options, name) for name in self.method.layer_parameters] if inside else []
            check_gradients(question.model, names)
        try:
            if self.method.answers_drawn_alone(self.options):
                question.drawn_object()
            finding = yield from self.method.run(question, self.options)
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
            if not finding.why_zero and "gradients" in self.method.needs:
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
    if question.is_elsewhere:
        return ""
    *others, last = for_misses(question.model.has_layers)
    # Without a region, or with one that is found in the prediction, nobody has said where the label should be.
    unsaid = question.target.region is None or isinstance(question.target.region, Component)
    where = "choose the region where it should be and " if unsaid else ""
    return f"; to ask why it is missed, {where}use {', '.join(others)} or {last}"


def as_image(image: Image | np.ndarray, model: SegmentationModel, axis: int | None = None) -> Image:
    """Return what is given as an image that suits a model.

    A NIfTI file whose fourth axis is as long as the model has channels has them there. `axis`: see `Image.across`.

    Raises
    ------
    UserError
        If it is no image, or `axis` is none of its axes.
    """
    return Image.of(image).with_channels(len(model.card.channels)).across(axis)


def _first(make: Callable[[], list[Explanation]]) -> Explanation:
    return make()[0]
