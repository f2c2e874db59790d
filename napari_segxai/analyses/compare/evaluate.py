"""Measuring maps that are there already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from torch import nn

from napari_segxai.analyses.compare.measuring import MeasuringWithControls, MetricParameters, spelled_out
from napari_segxai.analyses.compare.plan import ComparisonPlan, names_of
from napari_segxai.analyses.compare.result import Comparison
from napari_segxai.analyses.compare.run import comparison_steps
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.core.arguments import check_types, checked
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Step, Steps, finish
from napari_segxai.core.target import Target
from napari_segxai.models.segmentation import SegmentationModel


@checked("model", "maps", *MetricParameters.__annotations__)
@spelled_out(MeasuringWithControls)
def evaluate(
    model: SegmentationModel | nn.Module | str | Path,
    maps: Explanation | Mapping[str, Explanation | np.ndarray] | Sequence[Explanation],
    image: Image | np.ndarray | None = None,
    target: Target | str | int | None = None,
    *,
    progress: Callable[[Step], None] | bool | None = None,
    **measuring: Unpack[MeasuringWithControls],
) -> Comparison:
    """Measure maps that are there already.

    Parameters
    ----------
    model : SegmentationModel, torch.nn.Module, str or Path
        A `SegmentationModel`, or what `load_model` takes without a card.
    maps : Explanation, sequence of Explanation, or mapping
        Explanations, or explanations and arrays on the image grid by name.
    image : Image or numpy.ndarray, optional
        That of the first explanation by default; it has to be given with plain arrays.
    target : Target, str or int, optional
        That of the first explanation by default; it has to be given with plain arrays.
    progress : callable or bool, optional
        Called with every `Step`; True shows a progress bar in the terminal.
    **measuring : Unpack[MeasuringWithControls]
        What is measured; `help` lists it here. Slice and axis are those of the first explanation by default.

    Returns
    -------
    Comparison
        The maps, and a row of numbers for each.

    Raises
    ------
    UserError
        For anything that was asked wrongly, such as a map of another image.
    """
    return finish(evaluate_maps_steps(model, maps, image, target, **measuring), progress)


def evaluate_maps_steps(
    model: SegmentationModel | nn.Module | str | Path,
    maps: Explanation | Mapping[str, Explanation | np.ndarray] | Sequence[Explanation],
    image: Image | np.ndarray | None = None,
    target: Target | str | int | None = None,
    **measuring: Unpack[MeasuringWithControls],
) -> Steps[Comparison]:
    """`evaluate`, one step at a time; what is wrong with the question is raised at the call."""
    given = _by_name(maps)
    first = next((map for map in given.values() if isinstance(map, Explanation)), None)
    if image is None:
        if first is None:
            raise UserError("give the image that the maps explain.")
        image = first.image
    if target is None:
        if first is None:
            raise UserError("give the target (a label) that the maps explain.")
        target = first.target
    if measuring.get("slice") is None and first is not None:
        measuring["slice"] = first.record.slice
    if measuring.get("axis") is None and first is not None and image is first.image:
        measuring["axis"] = first.record.axis
    return comparison_steps(ComparisonPlan.make(model, image, target, maps=given, **measuring))


def _by_name(maps: Any) -> dict[str, Explanation | np.ndarray]:
    if isinstance(maps, Explanation):
        maps = [maps]
    if isinstance(maps, Mapping):
        found = dict(maps)
        check_types("evaluate", {"maps": found}, {"maps": Mapping[str, Explanation | np.ndarray]})
    else:
        listed = list(maps) if isinstance(maps, Iterable) and not hasattr(maps, "__array__") else [maps]
        if not all(isinstance(map, Explanation) for map in listed):
            raise UserError("maps: give explanations, or arrays by name, such as {'mine': array}.")
        specs = [(map.record.method, map.record.parameters) for map in listed]
        found = dict(zip(names_of(specs), listed, strict=True))
    if not found:
        raise UserError("maps: give at least one map.")
    return found
