"""Asking once more what an explanation was asked: for checks, for *Run again* and for copied scripts."""

from __future__ import annotations

import torch

from napari_segxai.analyses.again import model_again, parameters_again
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.core.image import Image
from napari_segxai.core.target import Target
from napari_segxai.methods.registry import find_method
from napari_segxai.models.segmentation import SegmentationModel


def plan_again(
    explanation: Explanation,
    model: SegmentationModel,
    target: Target | None = None,
    *,
    image: Image | None = None,
    device: str | torch.device | None = None,
    slice: int | None = None,
    references: bool = True,
) -> ExplanationPlan:
    """Return the plan by which an explanation came about.

    Parameters
    ----------
    model
        The model that was explained, with the same weights.
    target
        What was asked; by default what the record tells.
    image
        The image that was explained, where the explanation's own has no values; by default that.
    device
        Where it runs now; by default where it ran.
    slice
        The slice; by default that of the record.
    references
        Whether a folder of images that a parameter names is looked at again; it changes no map.

    Raises
    ------
    UserError
        If the model is another one, or the plan does not hold any more.
    """
    record = explanation.record
    parameters = parameters_again(record.method, record.parameters)
    if not references:
        parameters |= dict.fromkeys(find_method(record.method).folder_parameters, "")
    model_again(record.model, model, "explanation")
    return ExplanationPlan.make(
        model,
        explanation.image if image is None else image,
        explanation.target if target is None else target,
        record.method,
        seed=record.seed,
        device=device or record.device,
        slice=record.slice if slice is None else slice,
        axis=None if image is None else record.axis,
        # Where it was not worth while with fewer digits, that need not be tried again.
        precision="float32" if record.engine.get("precision") == "float32" else "auto",
        **parameters,
    )
