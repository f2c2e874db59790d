"""Asking once more what a comparison was asked: for *Run again* and for copied scripts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from napari_segxai.analyses.again import image_again, model_again, parameters_again
from napari_segxai.analyses.compare.asked import Asked
from napari_segxai.analyses.compare.plan import ComparisonPlan
from napari_segxai.analyses.compare.result import Comparison
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.models.segmentation import SegmentationModel


def plan_again(
    comparison: Comparison,
    model: SegmentationModel | nn.Module | str | Path | None,
    image: Image | np.ndarray | None = None,
) -> ComparisonPlan:
    """Return the plan by which a comparison came about.

    Parameters
    ----------
    comparison : Comparison
        What was opened.
    model : SegmentationModel, torch.nn.Module, str or Path
        The model that it is of, with the same weights, or what `load_model` takes.
    image : Image or ndarray, optional
        The image that it is of, where the comparison's own has no values.

    Returns
    -------
    ComparisonPlan
        With the names of the maps, and the maps that were given. Methods that a comparison which was stopped did not
        reach are in it as well.

    Raises
    ------
    UserError
        If the record does not tell what was asked, or model or image are others.
    """
    asked = asked_of(comparison, "comparison")
    methods = {
        name: (each["method"], parameters_again(each["method"], each["parameters"]))
        for name, each in asked.methods.items()
    }
    plan = ComparisonPlan.make(
        model_again(model_facts(comparison), model, "comparison"),
        image_again(comparison.image, image, "comparison"),
        comparison.target,
        methods,
        maps={
            name: comparison.explanations.get(name, map)
            for name, map in comparison.maps.items()
            if name not in methods
        },
        controls=asked.controls,
        **measuring_again(comparison, asked),
    )
    # How the truth came to its grid, and what nobody has labelled there.
    return replace(plan, warnings=tuple(comparison.warnings), ignored=comparison.ignored)


def asked_of(comparison: Comparison, what: str) -> Asked:
    """Return what a comparison, or a sweep, was asked.

    Raises
    ------
    UserError
        If that is not known, or if something of it is in no file.
    """
    if comparison.asked is None:
        raise UserError(
            f"the record of this {what} does not say everything that was asked; make the {what} again."
        )
    if comparison.asked.noise_model == "":
        raise UserError(
            f"this {what} was measured with a noise model that is a function of Python, which no file holds; make the "
            f"{what} again in Python."
        )
    return comparison.asked


def model_facts(comparison: Comparison) -> dict[str, Any]:
    """Return what a comparison, or a sweep, says of its model; raises UserError if it says nothing."""
    if comparison.model is None:
        raise UserError("the record does not say which model it belongs to; make the result again.")
    return comparison.model


def measuring_again(comparison: Comparison, asked: Asked) -> dict[str, Any]:
    """Return what `compare` and `sweep` are asked alike; see `measuring.Measuring`."""
    return {
        "truth": comparison.truth,
        "noise_model": asked.noise_model,
        "metrics": [metric.name for metric in comparison.metrics],
        "seed": asked.seed,
        "device": asked.device,
        "slice": asked.slice,
        "axis": asked.axis,
        **asked.options,
    }
