"""What is asked about a label in every case beyond where it is drawn: another score, a contrast, a band along the border, components of an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from napari_segxai.analyses.explain.error_components import find_errors
from napari_segxai.analyses.explain.takes import refusal
from napari_segxai.core.arguments import check_fields, whole_number
from napari_segxai.core.errors import UserError, nearest
from napari_segxai.core.image import Image
from napari_segxai.core.target import Error, Reduction, Score, Target
from napari_segxai.io.cases.case import Cases
from napari_segxai.methods.registry import find_method
from napari_segxai.models.segmentation import SegmentationModel

OF_FLOWS = ("against", "boundary", "score", "reduction")

MOST = 100
"""Components of one label of a case that are explained at most."""


@dataclass(frozen=True)
class CasesTarget:
    """What is asked of every label.

    Attributes
    ----------
    against, boundary, error
        As for `Target`; the components of the error are found with the truth of each case.
    components
        How many of them are explained in every case at most, the largest first.
    least
        Smallest size of a component that is explained, in the image's units (mm², mm³ where it knows them).
    score, reduction
        As for `Target`, by name.
    """

    against: str | None = None
    boundary: tuple[float, float] | None = None
    error: Error | None = None
    components: int = 1
    least: float = 0.0
    score: Score = "logit"
    reduction: Reduction = "mean"

    @property
    def plain(self) -> dict[str, Any]:
        """What differs from the default, as plain values."""
        told = {name: value for name, value in asdict(self).items() if value != getattr(CasesTarget, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}

    def target(self, label: str, **more: Any) -> Target:
        """Return the question about one label."""
        read = {"score": self.score, "reduction": self.reduction}
        return Target(label, against=self.against, boundary=self.boundary, **read, **more)

    @property
    def of_flows(self) -> dict[str, Any]:
        """What an information flow is asked of it, which knows no errors."""
        return {name: value for name, value in self.plain.items() if name in OF_FLOWS}


def read_cases_target(
    given: Mapping[str, Any] | None, model: SegmentationModel, cases: Cases
) -> CasesTarget | None:
    """Check what is asked; None where nothing is beyond the label itself.

    Raises
    ------
    UserError
        For an unknown key, or a value that is not right.
    """
    if not given:
        return None
    for key in given:
        if key not in CasesTarget.__dataclass_fields__:
            raise UserError(
                f"target: unknown key {key!r}; {nearest(str(key), CasesTarget.__dataclass_fields__)}"
            )
    if callable(given.get("score")):
        raise UserError(
            "target: a score of your own cannot be asked of a cohort, whose jobs are kept, done in other processes, and gone on with later, where "
            "your function is not; choose logit, probability or log_probability, or explain the cases one by one."
        )
    found = CasesTarget(**given)
    check_fields(found, "boundary", "error", "components")
    whole_number(found.components, "components", 1, MOST)
    if found.against is not None:
        model.label_index(found.against)
    one = found.target(model.labels[-1], error=found.error)  # raises
    found = CasesTarget(**{**given, "boundary": one.boundary})
    if found.error is None and (found.components != 1 or found.least):
        raise UserError(
            "target: components and least are for an error; give error='false-positive' or 'false-negative'."
        )
    if found.error is not None and all(case.truth is None for case in cases):
        raise UserError(f"{cases.source}: no case has a truth, without which no {found.error} can be found.")
    return found if found.plain else None


def check_methods(
    asked: CasesTarget | None, labels: Sequence[str], methods: Mapping[str, tuple[str, dict[str, Any]]]
) -> None:
    """Refuse a method that does not take the question, and a label that is held against itself.

    Raises
    ------
    UserError
        Naming it.
    """
    if asked is None:
        return
    if asked.against in labels:
        raise UserError(f"{asked.against!r} is asked about against itself; leave it out of the labels.")
    for name, parameters in methods.values():
        method = find_method(name, "image")
        if why := refusal(method, method.make_options(parameters), asked.target(labels[0])):
            raise UserError(why)


@dataclass(frozen=True)
class MapAsked:
    """One map of every label: a method with its parameters, and of an error the number of its component (0 of none)."""

    method: str
    parameters: Mapping[str, Any]
    component: int = 0


def maps_of(
    asked: CasesTarget | None, methods: Mapping[str, tuple[str, dict[str, Any]]]
) -> dict[str, MapAsked]:
    """Return the maps of a label by name: of an error one for each component, such as "misure of false-positive 2"."""
    if asked is None or asked.error is None:
        return {name: MapAsked(*one) for name, one in methods.items()}
    return {
        f"{name} of {asked.error} {number}": MapAsked(*one, number)
        for name, one in methods.items()
        for number in range(1, asked.components + 1)
    }


def target_of_case(
    asked: CasesTarget | None,
    component: int,
    model: SegmentationModel,
    image: Image,
    label: str,
    truth: Image | None,
    drawn: np.ndarray | None,
) -> tuple[Target | None, dict[str, Any], str]:
    """Return the question about a label of one case, what its row tells of it, and why there is none.

    Parameters
    ----------
    component
        Number of the component of the error; 0 without one.
    drawn
        Where the label is predicted: boolean, on the image grid; only needed for an error.

    Raises
    ------
    UserError
        If there is no truth, or it cannot be used.
    """
    if asked is None or asked.error is None:
        return (Target(label) if asked is None else asked.target(label)), {}, ""
    if truth is None:
        raise UserError(f"the case has no truth, without which no {asked.error} can be found.")
    every = find_errors(model, image, label, truth, asked.error, drawn=drawn)
    found = [one for one in every if one.size >= asked.least]
    size = f"component_size_{image.units}{len(image.spatial_shape)}"
    row = {"error_kind": asked.error, "component": component, "component_pixels": None, size: None}
    if component > len(found):
        least = f" of at least {asked.least:g}" if asked.least else ""
        return None, row, f"{label} has {len(found)} {asked.error} component(s){least} here."
    one = found[component - 1]
    row |= {"component_pixels": one.pixels, size: one.size}
    return asked.target(label, region=one.mask, error=one.error, component=one.number), row, ""
