"""Bringing what a method found from the model grid to the image grid, slice by slice, and the record."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.provenance import facts_of_model, now, versions
from napari_segxai.core import orientation
from napari_segxai.core.progress import Passes
from napari_segxai.core.record import Record
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.question import Question
from napari_segxai.io.image_record import image_as_dict
from napari_segxai.methods.registry import options_as_dict
from napari_segxai.models.preprocessing.resample import resize
from napari_segxai.models.preprocessing.spatial import plane_of

if TYPE_CHECKING:
    from napari_segxai.analyses.explain.plan import ExplanationPlan


COARSE = 6
"""Cells per axis below which a network layer's map is mostly interpolation."""


class Canvas:
    """The image grid on which the findings of all slices are put together."""

    def __init__(self, plan: ExplanationPlan):
        self.plan = plan
        self.seconds = 0.0
        self.passes = Passes()
        shape = plan.image.spatial_shape
        self.map = np.zeros(shape, np.float32)
        self.prediction = plan.model.labelling.blank(len(plan.model.labels), shape)
        self.native: np.ndarray | None = None
        self.native_affine: np.ndarray | None = None
        self.maps: dict[str, np.ndarray] = {}
        self.masks: dict[str, np.ndarray] = {}
        self.stages: np.ndarray | None = None
        self.stage_table: list[dict[str, Any]] = []
        self.curves: dict[str, dict[str, list[float]]] = {}
        self.results: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.engine: dict[str, Any] = {}
        self.without = 0

    def add(self, question: Question, finding: Finding, index: int | None) -> None:
        """Bring a finding from the model grid to the image grid."""
        place = question.prepared.placement
        many = len(self.plan.slices) > 1
        self.passes = self.passes + question.passes
        self.engine = dict(question.executor.notes)
        question.model.labelling.on_image(question.logits[0], place, self.prediction)
        native = tuple(finding.map.shape) != question.grid
        values = finding.map
        coarse = native and min(values.shape) < COARSE
        if native:
            self._keep_native(values, question)
            values = resize(values.float()[None, None], question.grid, linear=True)[0, 0]
        place.to_image(place.from_grid(values, linear=True), self.map)
        for name, extra in finding.maps.items():
            canvas = self.maps.setdefault(name, np.zeros_like(self.map))
            if tuple(extra.shape) != question.grid:
                extra = resize(extra.float()[None, None], question.grid, linear=True)[0, 0]
            place.to_image(place.from_grid(extra, linear=True), canvas)
        for name, mask in finding.masks.items():
            canvas = self.masks.setdefault(name, np.zeros(self.map.shape, bool))
            place.to_image(place.from_grid(mask, linear=False) > 0.5, canvas)
        if finding.stages is not None:
            if self.stages is None:
                self.stages = np.zeros(self.map.shape, np.uint16)
            place.to_image(
                np.rint(place.from_grid(finding.stages, linear=False)).astype(np.uint16), self.stages
            )
            if len(finding.stage_table) > len(self.stage_table):
                self.stage_table = [dict(row) for row in finding.stage_table]
        prefix = f"slice {index}: " if many else ""
        self.curves.update({prefix + name: dict(columns) for name, columns in finding.curves.items()})
        if many:
            self.results[f"slice {index}"] = dict(finding.numbers)
        else:
            self.results = dict(finding.numbers)
        notes = [*question.prepared.notes, *question.warnings, *finding.warnings]
        if question.nothing and many:
            self.without += 1  # told once for all slices
        elif question.nothing:
            notes.append(question.nothing)
        if coarse:
            cells = " x ".join(map(str, finding.map.shape))
            notes.append(f"the network layer has {cells} cells only; a later layer shows more detail.")
        self.warnings += [prefix + note for note in notes if prefix + note not in self.warnings]

    def _keep_native(self, values: torch.Tensor, question: Question) -> None:
        place, image = question.prepared.placement, self.plan.image
        if place.slice is not None:
            return  # a volume of slices has no one native grid
        turned = values.float().cpu().numpy()
        self.native = np.ascontiguousarray(orientation.apply(turned, orientation.invert(place.turn)))
        if image.affine is not None:
            self.native_affine = place.native_affine(tuple(values.shape), image.affine)

    def partial(
        self, question: Question, finding: Callable[[], Finding] | None, index: int | None
    ) -> Callable[[], Explanation] | None:
        """Return the function that makes the explanation so far; None when there is nothing to show."""
        if finding is None and not self.results:
            return None

        def make() -> Explanation:
            canvas = Canvas(self.plan)
            canvas.__dict__.update(
                {
                    key: value.copy() if isinstance(value, np.ndarray | dict | list) else value
                    for key, value in self.__dict__.items()
                }
            )
            canvas.masks = {name: mask.copy() for name, mask in self.masks.items()}
            canvas.maps = {name: values.copy() for name, values in self.maps.items()}
            if finding is not None:
                canvas.add(question, finding(), index)
            return canvas.explanation(partial=True)

        return make

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
            masks=self.masks,
            stages=self.stages,
            stage_table=self.stage_table,
            curves=self.curves,
            region=drawn if isinstance(drawn, np.ndarray) else None,
        )

    def _warnings(self, partial: bool) -> list[str]:
        out = list(self.warnings)
        if self.without:
            label = self.plan.model.labels[self.plan.model.label_index(self.plan.target.label)]
            where = "" if self.plan.target.region is None else "in the region "
            out.insert(
                0, f"{label!r} is not predicted {where}in {self.without} of {len(self.results)} slices."
            )
        method = self.plan.method  # activation x gradient: what is below 0 speaks against the label
        if method.question == "layer" and "gradients" in method.needs and not partial:
            values = self.map.astype(np.float64)
            said = against(values.clip(min=0).sum(), values.clip(max=0).sum())
            out += [f"{said}; try another network layer."] if said else []
        return out

    def _record(self, partial: bool) -> Record:
        plan, image = self.plan, self.plan.image
        low, high = float(self.map.min()), float(self.map.max())
        signed = low < 0
        limit = max(abs(low), abs(high)) or 1.0
        # A map without negative values may have a floor (RISE does): what counts is what rises above it.
        limits = [-limit, limit] if signed else [low if low < high else 0.0, limit]
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
            display={
                "values": "raw",
                "unit": plan.unit,
                "signed": signed,
                "range": [low, high],
                "contrast_limits": limits,
            },
            partial=partial,
            created=now(),
            versions=versions(),
            engine=self.engine,
        )


def against(positive: float, negative: float) -> str:
    """Return a warning if a map speaks against its label, by the sums of its positive and negative values; else ""."""
    return "more of the map speaks against the label than for it" if -negative > positive else ""
