"""Measuring maps that are there already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from napari_segxai.analyses.compare.matching import target_of
from napari_segxai.analyses.compare.result import Comparison
from napari_segxai.analyses.compare.run import names_of, plan_comparison
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Step, Steps, finish
from napari_segxai.core.target import Target
from napari_segxai.metrics.functional.noise import NoiseModel
from napari_segxai.models.ground_truth import Truth
from napari_segxai.models.segmentation import SegmentationModel


def evaluate(
    model: SegmentationModel | nn.Module | str | Path,
    maps: Explanation | Mapping[str, Explanation | np.ndarray] | Sequence[Explanation],
    image: Image | np.ndarray | None = None,
    target: Target | str | int | None = None,
    *,
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
    """Measure maps that are there already.

    Parameters
    ----------
    maps
        Explanations, or arrays on the image grid by name.
    image, target
        Those of the first explanation by default; of plain arrays they have to be given, as has a target whose region
        is an array, which explanations do not keep.

    Other parameters are those of `compare`.

    Raises
    ------
    UserError
        For anything that was asked wrongly, such as a map of another image.
    """
    steps = evaluate_maps_steps(
        model, maps, image, target, truth=truth, noise_model=noise_model, metrics=metrics, controls=controls,
        seed=seed, device=device, slice=slice, axis=axis, **options,
    )  # fmt: skip
    return finish(steps, progress)


def evaluate_maps_steps(
    model: SegmentationModel | nn.Module | str | Path,
    maps: Explanation | Mapping[str, Explanation | np.ndarray] | Sequence[Explanation],
    image: Image | np.ndarray | None = None,
    target: Target | str | int | None = None,
    *,
    truth: Truth | None = None,
    noise_model: NoiseModel | str | Path | None = None,
    metrics: Sequence[str] | str | None = None,
    controls: int = 1,
    seed: int = 0,
    device: str = "auto",
    slice: int | None = None,
    axis: int | None = None,
    **options: Any,
) -> Steps[Comparison]:
    """`evaluate`, one step at a time."""
    given = _by_name(maps)
    first = next((map for map in given.values() if isinstance(map, Explanation)), None)
    if image is None:
        if first is None:
            raise UserError("give the image that the maps explain.")
        image = first.image
    if target is None:
        if first is None:
            raise UserError("give the target (a label) that the maps explain.")
        target = target_of(first)
    if slice is None and first is not None:
        slice = first.record.slice
    if axis is None and first is not None and image is first.image:
        axis = first.record.axis
    plan = plan_comparison(
        model, image, target, maps=given, truth=truth, noise_model=noise_model, metrics=metrics, controls=controls,
        seed=seed, device=device, slice=slice, axis=axis, **options,
    )  # fmt: skip
    return plan.steps()


def _by_name(maps: Any) -> dict[str, Explanation | np.ndarray]:
    if isinstance(maps, Explanation):
        maps = [maps]
    if isinstance(maps, Mapping):
        found = dict(maps)
    else:
        listed = list(maps)
        if not all(isinstance(map, Explanation) for map in listed):
            raise UserError("maps: give explanations, or arrays by name, such as {'mine': array}.")
        specs = [(map.record.method, map.record.parameters) for map in listed]
        found = dict(zip(names_of(specs), listed, strict=True))
    if not found:
        raise UserError("maps: give one map at least.")
    return found
