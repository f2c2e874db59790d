"""Asking once more what a sweep was asked: for *Run again* and for copied scripts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from napari_segxai.analyses.again import image_again, model_again, parameters_again
from napari_segxai.analyses.compare.again import asked_of, measuring_again, model_facts
from napari_segxai.analyses.sweep.plan import SweepPlan
from napari_segxai.analyses.sweep.result import Sweep
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.models.segmentation import SegmentationModel


def plan_again(
    sweep: Sweep,
    model: SegmentationModel | nn.Module | str | Path | None,
    image: Image | np.ndarray | None = None,
) -> SweepPlan:
    """Return the plan by which a sweep came about.

    Parameters
    ----------
    sweep : Sweep
        What was opened.
    model : SegmentationModel, torch.nn.Module, str or Path
        The model that it is of, with the same weights, or what `load_model` takes.
    image : Image or ndarray, optional
        The image that it is of, where the sweep's own has no values.

    Returns
    -------
    SweepPlan
        With the names of the maps; combinations that a sweep which was stopped did not reach are in it as well.

    Raises
    ------
    UserError
        If the record does not tell what was asked, or model or image are others.
    """
    comparison = sweep.comparison
    asked = asked_of(comparison, "sweep")
    plan = SweepPlan.make(
        model_again(model_facts(comparison), model, "sweep"),
        image_again(comparison.image, image, "sweep"),
        comparison.target,
        (sweep.method, parameters_again(sweep.method, sweep.fixed)),
        {
            name: [parameters_again(sweep.method, {name: value})[name] for value in values]
            for name, values in sweep.grid.items()
        },
        **measuring_again(comparison, asked),
    )
    own = plan.comparison.explanations
    if len(own) != len(asked.methods):
        raise UserError(
            "the record of this sweep tells of other combinations than its grid; make the sweep again."
        )
    named = dict(zip(asked.methods, own.values(), strict=True))  # numbers may have been written otherwise
    return replace(
        plan,
        comparison=replace(plan.comparison, explanations=named, warnings=tuple(comparison.warnings)),
    )
