"""Bringing what a method found from the model grid to the image grid, slice by slice, and the record."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.analyses.explain.display import display_of
from napari_segxai.analyses.explain.on_image import coarse_note, layer_map, native_map, note_against
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.provenance import facts_of_model, now, versions
from napari_segxai.core.chart import Chart
from napari_segxai.core.gallery import Gallery
from napari_segxai.core.progress import Passes
from napari_segxai.core.record import Record
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.question import Question
from napari_segxai.io.image_record import image_as_dict
from napari_segxai.methods.registry import options_as_dict
from napari_segxai.models.preprocessing.spatial import plane_of

if TYPE_CHECKING:
    from napari_segxai.analyses.explain.plan import ExplanationPlan


class Assembler:
    """The image grid on which the findings of all slices are put together."""

    def __init__(self, plan: ExplanationPlan):
        self.plan = plan
        self.many = len(plan.slices) > 1
        self.seconds = 0.0
        self.passes = Passes()
        shape = plan.image.spatial_shape
        self.map = np.zeros(shape, np.float32)
        self.prediction = plan.model.labeling.blank(len(plan.model.labels), shape)
        self.native: np.ndarray | None = None
        self.native_affine: np.ndarray | None = None
        self.maps: dict[str, np.ndarray] = {}
        self.series: dict[str, np.ndarray] = {}
        self.masks: dict[str, np.ndarray] = {}
        self.stages: np.ndarray | None = None
        self.stage_table: list[dict[str, Any]] = []
        self.curves: dict[str, dict[str, list[float]]] = {}
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.charts: list[Chart] = []
        self.galleries: list[Gallery] = []
        self.results: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.engine: dict[str, Any] = {}
        self.slices_without_label = 0

    def add(self, question: Question, finding: Finding, index: int | None) -> None:
        """Bring a finding from the model grid to the image grid, and add what it says to what is known."""
        self.passes = self.passes + question.passes
        self.engine = dict(question.executor.notes)
        self._fill(question, finding)
        prefix = f"slice {index}: " if self.many else ""
        self.curves.update({prefix + name: dict(columns) for name, columns in finding.curves.items()})
        self.tables.update(
            {prefix + name: [dict(row) for row in rows] for name, rows in finding.tables.items()}
        )
        self.charts += [replace(chart, title=prefix + chart.title) for chart in finding.charts]
        self.galleries += [
            replace(one, name=prefix + one.name, title=prefix + one.title) for one in finding.galleries
        ]
        if self.many:
            self.results[f"slice {index}"] = dict(finding.numbers)
        else:
            self.results = dict(finding.numbers)
        notes = self._notes(question, finding)
        self.warnings += [prefix + note for note in notes if prefix + note not in self.warnings]

    def _fill(self, question: Question, finding: Finding) -> None:
        """Draw prediction, maps, masks and stages where the model saw them."""
        place = question.prepared.placement
        question.model.labeling.on_image(question.logits[0], place, self.prediction)
        if tuple(finding.map.shape) != question.grid:
            self.native, self.native_affine = native_map(finding.map, place, self.plan.image)
        layer_map(finding.map, place, self.map)
        for name, extra in finding.maps.items():
            layer_map(extra, place, self.maps.setdefault(name, np.zeros_like(self.map)))
        for name, frames in finding.series.items():
            before = self.series.get(name, np.zeros((0, *self.map.shape), np.float32))
            filled = np.zeros((max(len(frames), len(before)), *self.map.shape), np.float32)
            filled[: len(before)] = before  # of other slices; a run that was stopped has fewer steps
            for frame, values in zip(filled, frames, strict=False):
                layer_map(values, place, frame)
            self.series[name] = filled
        for name, mask in finding.masks.items():
            filled = self.masks.setdefault(name, np.zeros(self.map.shape, bool))
            place.to_image(place.from_grid(mask, linear=False) > 0.5, filled)
        if finding.stages is not None:
            if self.stages is None:
                self.stages = np.zeros(self.map.shape, np.uint16)
            stages = np.rint(place.from_grid(finding.stages, linear=False)).astype(np.uint16)
            place.to_image(stages, self.stages)
            if len(finding.stage_table) > len(self.stage_table):
                self.stage_table = [dict(row) for row in finding.stage_table]

    def _notes(self, question: Question, finding: Finding) -> list[str]:
        """Return what has to be said of one slice."""
        notes = [*question.prepared.notes, *question.warnings, *finding.warnings]
        if question.nothing and self.many:
            self.slices_without_label += 1  # told once for all slices
        elif question.nothing:
            notes.append(question.nothing)
        return [*notes, *coarse_note(finding.map, question.prepared.placement)]

    def partial(
        self, question: Question, finding: Callable[[], Finding] | None, index: int | None
    ) -> Callable[[], Explanation] | None:
        """Return the function that makes the explanation so far; None when there is nothing to show."""
        if finding is None and not self.results:
            return None

        def make() -> Explanation:
            other = self._copy()
            if finding is not None:
                other.add(question, finding(), index)
            return other.explanation(partial=True)

        return make

    def _copy(self) -> Assembler:
        """Return what is there so far, to which more can be added without changing this."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray | dict | list):
                setattr(other, name, copy.deepcopy(value))
        return other

    def explanation(self, *, partial: bool) -> Explanation:
        """Put everything together."""
        drawn = self.plan.target.region
        return Explanation(
            map=self.map,
            image=self.plan.image,
            record=self._record(partial),
            prediction=self.prediction,
            native=self.native,
            native_affine=self.native_affine,
            maps=self.maps,
            series=self.series,
            masks=self.masks,
            stages=self.stages,
            stage_table=self.stage_table,
            curves=self.curves,
            tables=self.tables,
            charts=tuple(self.charts),
            galleries=tuple(self.galleries),
            region=drawn if isinstance(drawn, np.ndarray) else None,
        )

    def _warnings(self, partial: bool) -> list[str]:
        out = [*self.warnings, *self.plan.notes]
        if self.slices_without_label:
            label = self.plan.model.labels[self.plan.model.label_index(self.plan.target.label)]
            where = "" if self.plan.target.region is None else "in the region "
            out.insert(
                0,
                f"{label!r} is not predicted {where}in {self.slices_without_label} of {len(self.results)} slices.",
            )
        return out if partial else [*out, *note_against(self.plan.method, self.map)]

    def _record(self, partial: bool) -> Record:
        plan, image = self.plan, self.plan.image
        return Record(
            method=plan.method.name,
            parameters=options_as_dict(plan.options),
            target={
                **plan.target.as_dict(),
                "label": plan.model.labels[plan.model.label_index(plan.target.label)],
            },
            model=facts_of_model(plan.model),
            image=image_as_dict(image),
            device=str(plan.device),
            seed=plan.seed,
            slice=plan.slice,
            axis=plane_of(plan.model.card, image),
            passes=self.passes.as_dict(),
            seconds=round(self.seconds, 3),
            results=dict(self.results),
            warnings=self._warnings(partial),
            display=display_of(self.map, plan.unit),
            partial=partial,
            created=now(),
            versions=versions(),
            engine=self.engine,
        )
