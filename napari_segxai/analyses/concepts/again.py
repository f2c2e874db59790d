"""Asking once more what a survey was asked: for *Run again* and for copied scripts."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from napari_segxai.analyses.again import model_again
from napari_segxai.analyses.concepts.plan import SurveyPlan
from napari_segxai.analyses.concepts.result import Survey
from napari_segxai.analyses.concepts.sources import cases_of
from napari_segxai.models.segmentation import SegmentationModel


def plan_again(
    survey: Survey,
    model: SegmentationModel | nn.Module | str | Path | None,
    *,
    device: str | torch.device | None = None,
) -> SurveyPlan:
    """Return the plan by which a survey came about, of the same cases.

    Parameters
    ----------
    model
        The model that was asked, with the same weights.
    device
        Where it runs now; by default where it ran.

    Raises
    ------
    UserError
        If the model is another one, or the cases are not there any more.
    """
    record, labels = survey.record, survey.record["labels"]
    network = model_again(record["model"], model, "survey")
    return SurveyPlan.make(
        network,
        cases_of(record),
        record["method"],
        label=labels[0] if len(labels) == 1 else None,
        concepts=record["concepts"],
        seed=record["seed"],
        device=device or record["device"],
        **record["parameters"],
    )
