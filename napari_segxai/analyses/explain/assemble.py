"""Bringing what a method found from the model grid to the image grid, slice by slice, and the record."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_segxai.analyses.explain.display import display_of
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
    from napari_segxai.core.image import Image
    from napari_segxai.methods.registry import Method
    from napari_segxai.models.preprocessing.spatial import Placement


COARSE = 6
"""Cells per axis below which a network layer's map is mostly interpolation."""


class Assembler:
    """The image grid on which the findings of all slices are put together."""

    def __init__(self, plan: ExplanationPlan):
        self.plan = plan
        self.seconds = 0.0
        self.passes = Passes()
        shape = plan.image.spatial_shape
        self.map = np.zeros(shape, np.float32)
        self.prediction = plan.model.labeling.blank(len(plan.model.labels), shape)
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
        self.slices_without_label = 0

    def add(self, question: Question, finding: Finding, index: int | None) -> None:
        """Bring a finding from the model grid to the image grid."""
        place = question.prepared.placement
        many = len(self.plan.slices) > 1
        self.passes = self.passes + question.passes
        self.engine = dict(question.executor.notes)
        question.model.labeling.on_image(question.logits[0], place, self.prediction)
        native = tuple(finding.map.shape) != question.grid
        if native:
            self.native, self.native_affine = native_map(finding.map, place, self.plan.image)
        layer_map(finding.map, place, self.map)
        for name, extra in finding.maps.items():
            layer_map(extra, place, self.maps.setdefault(name, np.zeros_like(self.map)))
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
            self.slices_without_label += 1  # told once for all slices
        elif question.nothing:
            notes.append(question.nothing)
        notes += coarse_note(finding.map, place)
        self.warnings += [prefix + note for note in notes if prefix + note not in self.warnings]

    def partial(
        self, question: Question, finding: Callable[[], Finding] | None, index: int | None
    ) -> Callable[[], Explanation] | None:
        """Return the function that makes the explanation so far; None when there is nothing to show."""
        if finding is None and not self.results:
            return None

        def make() -> Explanation:
            canvas = Assembler(self.plan)
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


def layer_map(values: torch.Tensor, place: Placement, out: np.ndarray | None = None) -> np.ndarray:
    """Bring a map from the model grid, or from coarser cells that divide it evenly, to the image grid.

    Parameters
    ----------
    values
        (*cells).
    place
        Where the model grid lies.
    out
        float32, on the image grid: what is filled in, of a volume at the slice that the model saw; new by default.
    """
    out = np.zeros(place.image_shape, np.float32) if out is None else out
    if tuple(values.shape) != place.shape:
        values = resize(values.float()[None, None], place.shape, linear=True)[0, 0]
    return place.to_image(place.from_grid(values, linear=True), out)


def native_map(
    values: torch.Tensor, place: Placement, image: Image
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return a map at the resolution of its network layer in the axis order of the image, and its affine.

    Both are None where the map has the resolution of the model grid, or is one of a slice: a volume of slices has no one
    native grid. The affine is None where the image has none.
    """
    if tuple(values.shape) == place.shape or place.slice is not None:
        return None, None
    turned = values.float().cpu().numpy()
    native = np.ascontiguousarray(orientation.apply(turned, orientation.invert(place.turn)))
    affine = None if image.affine is None else place.native_affine(tuple(values.shape), image.affine)
    return native, affine


def coarse_note(values: torch.Tensor, place: Placement) -> list[str]:
    """Say that a network layer has few cells, where it has; else nothing."""
    if tuple(values.shape) == place.shape or min(values.shape) >= COARSE:
        return []
    cells = " x ".join(map(str, values.shape))
    return [f"the network layer has only {cells} cells; a later layer shows more detail."]


def note_against(method: Method, map: np.ndarray) -> list[str]:
    """Say that a map of activation x gradient speaks against its label, where it does: what is below 0 speaks against it."""
    if method.question != "layer" or "gradients" not in method.needs:
        return []
    values = map.astype(np.float64)
    said = against(values.clip(min=0).sum(), values.clip(max=0).sum())
    return [f"{said}; try another network layer."] if said else []


def against(positive: float, negative: float) -> str:
    """Return a warning if a map speaks against its label, by the sums of its positive and negative values; else ""."""
    return "more of the map speaks against the label than for it" if -negative > positive else ""
