"""What a check works on: an explanation, the network and the question behind it, and how to ask again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from napari_segxai.analyses.again import model_again
from napari_segxai.analyses.explain.again import plan_again
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.explain.run import explanation_steps
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Passes, Step, Steps, relay
from napari_segxai.core.target import Component, Point, Target, region_words
from napari_segxai.engine.question import Question
from napari_segxai.models.inference.memory import guarded
from napari_segxai.models.preprocessing.framed import place
from napari_segxai.models.preprocessing.spatial import Placement
from napari_segxai.models.segmentation import SegmentationModel


class PassCounter:
    """Counts what a check has run.

    Attributes
    ----------
    planned, passes
        What it is expected to need, and what it has run.
    """

    def __init__(self, planned: Passes):
        self.planned = planned
        self.passes = Passes()

    def step(self, note: str, under_way: int = 0) -> Step:
        """Report where the check stands."""
        done = self.passes.cost + under_way
        return Step(done, max(done, self.planned.cost), note)


@dataclass(frozen=True, eq=False)
class CheckContext:
    """An explanation that is checked.

    A 2D model's explanation of many slices is checked in one of them: the one with the most of the label.

    Attributes
    ----------
    explanation, model, target
        What was found, and what was asked of which network.
    plan
        The same question again, in the slice that is checked.
    placement
        How the model sees the image.
    """

    explanation: Explanation
    model: SegmentationModel
    target: Target
    plan: ExplanationPlan
    placement: Placement

    @classmethod
    def make(
        cls,
        explanation: Explanation,
        model: SegmentationModel,
        target: Target | None = None,
        device: str | torch.device | None = None,
    ) -> CheckContext:
        """Put the question of an explanation together again.

        Raises
        ------
        UserError
            If the model or the target is not the one that was explained, or the explanation was stopped early.
        """
        record = explanation.record
        if record.partial:
            raise UserError("the explanation was stopped before its end; run it to the end to check it.")
        model_again(record.model, model, "explanation")
        target = _target_of(explanation, model, target)
        slice = record.slice
        if slice is None and model.slices(explanation.image) is not None:
            slice = _fullest_slice(explanation, model, target)
        plan = plan_again(explanation, model, target, device=device, slice=slice, references=False)
        return cls(explanation, model, target, plan, place(model.card, explanation.image, slice))

    # -- what was found -------------------------------------------------------------------------------

    def view(self, array: np.ndarray) -> np.ndarray:
        """Return what is checked of an array on the image grid: all of it, or one slice; axes as for the model."""
        return np.ascontiguousarray(self.placement.turned(array))

    @cached_property
    def map(self) -> np.ndarray:
        """The map that is checked."""
        return self.view(self.explanation.map)

    @property
    def label(self) -> str:
        """Name of the label."""
        return self.model.labels[self.model.label_index(self.target.label)]

    @cached_property
    def drawn(self) -> np.ndarray:
        """Boolean: where the label is predicted."""
        return self.drawn_in(self.explanation)

    def drawn_in(self, explanation: Explanation) -> np.ndarray:
        """Return where another explanation predicts the label: boolean."""
        return self.view(explanation.drawn(self.label))

    @cached_property
    def object(self) -> np.ndarray:
        """Boolean: the predicted pixels of the label that were asked about; of a single pixel, all of the label."""
        region, shape = self.target.region, self.explanation.image.spatial_shape
        if region is None or isinstance(region, str | Point):
            return self.drawn
        inside = np.zeros(shape, bool)
        if isinstance(region, Component):
            from skimage.measure import label

            inside[region.at] = True
            parts = label(self.drawn)
            return np.isin(parts, np.setdiff1d(parts[self.view(inside)], [0]))
        if isinstance(region, np.ndarray):
            inside = region
        else:
            corners = zip(region.low, region.high, strict=True)
            inside[tuple(slice(low, high + 1) for low, high in corners)] = True
        return self.drawn & self.view(inside)

    @cached_property
    def pinned(self) -> Target:
        """The target with its pixel set as it is now, whatever a changed network or image predicts."""
        pixels = self.target.region is None or isinstance(self.target.region, Component)
        if not pixels or not self.object.any():
            return self.target
        return replace(self.target, region=self.placement.to_image(self.object))

    # -- asking again ---------------------------------------------------------------------------------

    def again(
        self,
        *,
        model: SegmentationModel | None = None,
        image: Image | None = None,
        seed: int | None = None,
        method: str | None = None,
        **params: Any,
    ) -> ExplanationPlan:
        """Return the same question with something changed; of a changed network or image, about the same pixels.

        Parameters
        ----------
        method, **params
            Another method with these parameters.
        """
        plan = self.plan
        if method is not None:
            asked = {"seed": plan.seed, "device": plan.device, "slice": plan.slice}
            return ExplanationPlan.make(self.model, plan.image, self.target, method, **asked, **params)
        return replace(
            plan,
            model=model or plan.model,
            image=image or plan.image,
            target=plan.target if model is None and image is None else self.pinned,
            seed=plan.seed if seed is None else seed,
        )

    def ask(self, plan: ExplanationPlan, counter: PassCounter, note: str) -> Steps[Explanation]:
        """Explain once more, and count the passes."""
        yield counter.step(note)
        found = yield from relay(explanation_steps(plan), lambda step: counter.step(note, step.done))
        counter.passes += Passes(**found.record.passes)
        return found

    @contextmanager
    def question(self, counter: PassCounter) -> Iterator[Question]:
        """Put the network to use for passes of a check's own, and count them."""
        plan = self.plan
        with self.model.in_use(plan.device), guarded(plan.device):
            prepared = self.model.prepare(plan.image, plan.slices[0])
            question = Question(
                self.model,
                plan.image,
                prepared,
                plan.target,
                device=plan.device,
                seed=plan.seed,
                planned=counter.planned,
                precision="float32",
            )
            try:
                yield question
            finally:
                counter.passes += question.passes


def _target_of(explanation: Explanation, model: SegmentationModel, target: Target | None) -> Target:
    """Return the target; without one, what the record tells of it."""
    told = explanation.record.target
    if target is None:
        return explanation.target
    given = {**target.as_dict(), "label": model.labels[model.label_index(target.label)]}
    for name, value in given.items():
        if value != told[name]:
            here, there = ((region_words(v) if name == "region" else v) for v in (value, told[name]))
            raise UserError(
                f"the target has {name} {here!r}, but the explanation asked about {there!r}; give its target."
            )
    return target


def _fullest_slice(explanation: Explanation, model: SegmentationModel, target: Target) -> int:
    """Return the slice, counted as napari shows it, with the most pixels of the label."""
    image, drawn = explanation.image, explanation.drawn(model.labels[model.label_index(target.label)])
    counts = [place(model.card, image, k).turned(drawn).sum() for k in range(model.slices(image))]
    return int(np.argmax(counts))
