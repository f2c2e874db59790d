"""The question that a method is asked about a folder of cases: one network, and one case after another.

A method for folders is a generator that works on a `CasesQuestion` alone. It looks at one case at a time (`each`), keeps
statistics whose size does not depend on the number of cases, and returns a `SurveyFinding`. It never sees files; a case that
fails is told, and the rest goes on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.chart import Chart
from napari_segxai.core.errors import UserError, ended, reason_of
from napari_segxai.core.gallery import Gallery
from napari_segxai.core.prediction import where
from napari_segxai.core.progress import Passes, Step, Steps, relay
from napari_segxai.core.target import Target
from napari_segxai.engine.entries import CaseEntry, Held
from napari_segxai.engine.others import by_chance, inputs_of, others_of
from napari_segxai.engine.primitives.whole_activations import Take, each_block, whole_activations
from napari_segxai.engine.question import Question
from napari_segxai.models.inference.memory import guarded
from napari_segxai.models.introspection.layers import NetworkLayer, check_used
from napari_segxai.models.preprocessing.framed import place
from napari_segxai.models.unfit_sizes import refusing_sizes

if TYPE_CHECKING:
    from napari_segxai.core.image import Image
    from napari_segxai.models.preprocessing.spatial import Placement
    from napari_segxai.models.segmentation import SegmentationModel


class CaseView:
    """What a method sees of one case, while it looks at it.

    Parameters
    ----------
    cases
        The question that is asked.
    entry, held
        The case.
    slice
        For a 2D model on a volume: the slice that is looked at, as napari counts it.

    Attributes
    ----------
    question
        The question about the first label: input, logits, predicted pixels.
    """

    def __init__(self, cases: CasesQuestion, entry: CaseEntry, held: Held, slice: int | None):
        self.cases, self.entry, self.held, self.slice = cases, entry, held, slice
        self.id, self.subject = entry.id, entry.subject
        self._prepared = cases.model.prepare(held.image, slice)
        self._questions: dict[str, Question] = {}
        self._refused: list[str] = []
        self.question = self.question_of(cases.labels[0])

    def question_of(self, label: str) -> Question:
        """Return the question about a label; the network is shown the image once for all of them."""
        if label not in self._questions:
            cases = self.cases
            made = Question(
                cases.model, self.held.image, self._prepared, replace(cases.like, label=label), device=cases.device, seed=cases.seed,
                planned=cases.planned, precision="float32",
            )  # fmt: skip
            made.executor.passes = cases.passes  # all count together
            if self._questions:
                made.remember_logits(self.question.logits)
            self._questions[label] = made
        return self._questions[label]

    @property
    def said(self) -> list[str]:
        """What was noted when the image was prepared, the network was looked into and the truth was read."""
        own = [one for question in self._questions.values() for one in question.warnings]
        return [*self._prepared.notes, *own, *self._refused]

    @property
    def placement(self) -> Placement:
        """How the model grid lies on the image."""
        return self._prepared.placement

    @cached_property
    def inside(self) -> Tensor:
        """Where the model grid holds image, and no padding, and it is known which concepts are there: boolean (*grid)."""
        inside = self.placement.inside().to(self.cases.device)
        ignored = self.held.ignored
        return inside if ignored is None else inside & ~self.question.from_image(ignored)

    @cached_property
    def concepts(self) -> dict[str, Tensor]:
        """Where each concept is: boolean (*grid) by name, only of what the case has a mask of."""
        if self.held.concepts is None:
            return {name: self.question_of(name).predicted & self.inside for name in self.cases.concepts}
        return {name: self.question.from_image(mask) for name, mask in self.held.concepts.items()}

    def truth(self, label: str) -> Tensor | None:
        """Return where a label truly is: boolean (*grid); None without a truth that can be used."""
        values = self._truth
        if values is None:
            return None
        model = self.cases.model
        return self.question.from_image(
            where(values, model.label_index(label), overlapping=model.overlapping)
        )

    @cached_property
    def _truth(self) -> np.ndarray | None:
        try:
            return self.held.truth()
        except UserError as reason:  # a method that asks for it can do without
            self._refused.append(f"a truth cannot be used, and counts as none: {reason}")
            return None

    @cached_property
    def at_once(self) -> Question:
        """The question about what the network sees at once: the image, or its middle window."""
        whole = self.question
        if whole.model.windows is None:
            return whole
        part = whole.on_part(whole.model.tiling(whole.grid).middle)
        part.executor.passes = self.cases.passes
        return part

    def activations(self, names: Sequence[str]) -> list[Tensor]:
        """Return what network layers make of the case: (1, channels, *cells) each, from one forward pass; see `whole_activations`."""
        return whole_activations(self.question, names)

    def each_block(self, names: Sequence[str], take: Take, *, whole: bool = False) -> None:
        """Hand what network layers make of the case, finite values, to `take`: as many channels at a time as may be held; see `whole_activations`."""
        each_block(self.question, names, take, finite=True, whole=whole)


@dataclass(frozen=True, eq=False)
class CaseMap:
    """A map of one case, which becomes a layer.

    Attributes
    ----------
    case
        Id of the case.
    name
        What it is of: a concept, a unit; no two maps of a case have one name.
    values
        (*model grid), or coarser for maps of a network layer.
    placement
        How the model grid lies on the image.
    of
        Which rows of the tables it shows: those with these values in these columns, such as a concept and a unit; see
        `core.gallery.shows`.
    """

    case: str
    name: str
    values: Tensor
    placement: Placement
    of: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SurveyFinding:
    """What a method found in a folder of cases.

    Attributes
    ----------
    rows
        Its table: plain values; a number that is not defined is None.
    sentence
        What it says, in one sentence.
    charts
        Its pictures, as data; the first is the figure.
    maps
        What becomes layers, of a few cases.
    tables
        Further tables by name.
    numbers
        Results in one number or word each.
    warnings
        What a user should know before believing it.
    galleries
        Small pictures in rows, such as crops of cases.
    """

    rows: Sequence[Mapping[str, Any]]
    sentence: str
    charts: tuple[Chart, ...] = ()
    maps: tuple[CaseMap, ...] = ()
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    galleries: tuple[Gallery, ...] = ()


MOST_WARNINGS = 20
"""Warnings that are kept of all cases together."""

Visit = Callable[[CaseView], Steps[None] | None]
"""Looks at a case; a generator where it takes more than one pass."""


class CasesQuestion:
    """One network, and a folder of cases.

    Parameters
    ----------
    model
        In use on `device`.
    entries
        The cases, in their order.
    labels
        What is asked about: names of labels, at least one.
    device, seed, planned
        As of a `Question`.
    method, fewest
        Who asks, and how many subjects it needs.
    source
        What the cases are called in sentences.
    concepts
        Labels that are concepts where predicted ones are; those that are asked about by default.
    like
        The target but for its label: what is asked of every case in the same way; by default as of a `Target`.
    passes
        Where passes are counted; by default apart from all others.

    Attributes
    ----------
    failed
        Why cases could not be used, by id.
    slices
        Of 2D models on volumes the slice that was looked at, by id.
    warnings
        What a user should know before believing what was found.
    """

    def __init__(
        self,
        model: SegmentationModel,
        entries: Sequence[CaseEntry],
        labels: Sequence[str],
        *,
        device: torch.device,
        seed: int,
        planned: Passes,
        method: str,
        fewest: int = 1,
        source: str = "the folder",
        concepts: Sequence[str] | None = None,
        like: Target | None = None,
        passes: Passes | None = None,
    ):
        self.model, self.entries, self.labels = model, tuple(entries), tuple(labels)
        self.concepts = self.labels if concepts is None else tuple(concepts)
        self.device, self.seed, self.planned = device, seed, planned
        self.method, self.fewest, self.source = method, fewest, source
        self.like = Target(self.labels[0]) if like is None else like
        self.passes = Passes() if passes is None else passes
        self.failed: dict[str, str] = {}
        self.slices: dict[str, int] = {}
        self.warnings: list[str] = []

    @property
    def usable(self) -> tuple[CaseEntry, ...]:
        """The cases that have not failed."""
        return tuple(entry for entry in self.entries if entry.id not in self.failed)

    def halves(self) -> tuple[set[str], set[str]]:
        """Return the ids of two halves by chance: what is chosen on one is judged on the other. No subject is in both."""
        subjects = list(dict.fromkeys(entry.subject for entry in self.entries))
        order = np.random.default_rng(self.seed).permutation(len(subjects))
        first = {subjects[k] for k in order[: (len(subjects) + 1) // 2]}
        one = {entry.id for entry in self.entries if entry.subject in first}
        return one, {entry.id for entry in self.entries} - one

    def some(self, most: int) -> set[str]:
        """Return the ids of `most` cases by chance; of all where there are no more."""
        order = np.random.default_rng(self.seed).permutation(len(self.entries))
        return {self.entries[k].id for k in order[:most]}

    def layers(self, names: str | None) -> list[NetworkLayer]:
        """Return the network layers that are named with commas; the main blocks where it is None, every one for "all".

        A layer whose map does not lie as the image does is left out, which is a warning; one that is named is refused.

        Raises
        ------
        UserError
            If there is no such layer.
        """
        return chosen_layers(self.model, names, self.warnings)

    def step(self, note: str, partial: Callable[[], Any] | None = None) -> Step:
        """Report where the work stands."""
        done = self.passes.cost
        return Step(done, max(done, self.planned.cost), note, partial)

    def each(
        self,
        visit: Visit,
        *,
        note: str = "looking",
        only: set[str] | None = None,
        partial: Callable[[], SurveyFinding] | None = None,
    ) -> Steps[None]:
        """Look at one case after another; a case that cannot be read or asked fails, and the rest goes on.

        Parameters
        ----------
        visit
            Looks at a case. It changes nothing that outlives it before it has all that it wants of the case.
        note
            What is being done, in words.
        only
            Ids of the cases; by default all. Those that have failed are passed over.
        partial
            Makes what there is so far.

        Raises
        ------
        UserError
            If fewer cases are left than the method needs.
        """
        chosen = [entry for entry in self.usable if only is None or entry.id in only]
        for number, entry in enumerate(chosen, 1):
            said = f"{note}, case {number} of {len(chosen)}, {entry.id}"
            try:
                view = self._view(entry)
                work = visit(view)
                if inspect.isgenerator(work):
                    yield from relay(work, lambda step, said=said: self.step(f"{said}: {step.note}", partial))
                self._note(view)
            except Exception as reason:  # of a stranger's file or network
                self.failed[entry.id] = reason_of(reason)
            yield self.step(said, partial)
        self._require_enough()

    def _note(self, view: CaseView) -> None:
        """Keep what was noted of a case, once for all that say the same."""
        for said in view.said:
            if said in self.warnings or len(self.warnings) > MOST_WARNINGS:
                continue
            self.warnings.append(
                said if len(self.warnings) < MOST_WARNINGS else "there are further notes like these."
            )

    def others(self, view: CaseView, many: int) -> list[Tensor]:
        """Return inputs of other cases on the same model grid, of other subjects, in an order by chance: (1, channels, *grid) each."""
        following = others_of(view.entry, by_chance(self.entries, self.seed), 2 * many)
        reads = [partial(_image_of, entry) for entry in following]
        return inputs_of(view.question, view.slice, reads, many)

    def _require_enough(self) -> None:
        left = len({entry.subject for entry in self.usable})
        if left >= self.fewest:
            return
        case, why = next(iter(self.failed.items()))
        raise UserError(
            f"{self.method} needs {count_of(self.fewest)}, and of the {len(self.entries)} in {self.source} {left} can be used; "
            f"{case}: {ended(why)}"
        )

    def _view(self, entry: CaseEntry) -> CaseView:
        held = entry.read()
        if entry.id not in self.slices and (found := self._slice(held)) is not None:
            self.slices[entry.id] = found  # once, however often the case is looked at
        index = self.slices.get(entry.id)
        return CaseView(self, entry, held, index)

    def _slice(self, held: Held) -> int | None:
        """For a 2D model on a volume: the slice that holds most of the concepts, or of the labels as predicted."""
        many, model = self.model.slices(held.image), self.model
        if many is None:
            return None
        if held.concepts is not None:
            places = [place(model.card, held.image, k, model.multiples) for k in range(many)]
            masks = held.concepts.values()
            sizes = [sum(int(np.count_nonzero(one.turned(mask))) for mask in masks) for one in places]
        else:
            sizes = [self._drawn(held.image, k) for k in range(many)]
        return int(np.argmax(sizes)) if any(sizes) else many // 2

    def _drawn(self, image: Image, index: int) -> int:
        model = self.model
        prepared = model.prepare(image, index)
        tensor, given = prepared.tensor.to(self.device), model.given(prepared)
        with torch.inference_mode(), guarded(self.device), refusing_sizes(given, tensor):
            logits = given.logits_kept(tensor)
        self.passes.forward += 1
        drawn = [model.labeling.drawn(logits, model.label_index(label)) for label in self.labels]
        return sum(int(torch.count_nonzero(one)) for one in drawn)


def _image_of(entry: CaseEntry) -> Image:
    return entry.read().image


def chosen_layers(model: SegmentationModel, names: str | None, warnings: list[str]) -> list[NetworkLayer]:
    """Return the network layers that are named; see `CasesQuestion.layers`.

    Raises
    ------
    UserError
        If there is no such layer.
    """
    if names is None or names.strip() == "all":
        found = model.outline if names is None else model.example_layers
        found = tuple(layer for layer in found if layer.stage != "unused")
        elsewhere = [layer.name for layer in found if layer.elsewhere]
        if elsewhere:
            warnings.append(
                f"network layers whose maps do not lie as the image does are left out: {', '.join(elsewhere)}."
            )
        found = tuple(layer for layer in found if not layer.elsewhere)
    else:
        named = [model.find_layer(name.strip()) for name in names.split(",") if name.strip()]
        found = tuple({layer.name: layer for layer in named}.values())
        for layer in found:
            check_used(layer, model.name)
            if layer.elsewhere:
                raise UserError(f"network layer {layer.name} {layer.elsewhere}; choose another.")
    if not found:
        raise UserError(f"{model.name} has no network layers that can be named.")
    return sorted(found, key=lambda layer: layer.order)


def count_of(subjects: int) -> str:
    """Say how many cases are needed."""
    return "one case" if subjects == 1 else f"{subjects} cases of different subjects"
