"""Asking once more what an information flow was asked: for one that was opened from a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from napari_segxai.analyses.flow.plan import FlowPlan
from napari_segxai.analyses.flow.result import Flow
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.methods.registry import options_as_dict
from napari_segxai.models.registry import load_model
from napari_segxai.models.segmentation import SegmentationModel


def plan_again(
    flow: Flow,
    model: SegmentationModel | nn.Module | str | Path | None,
    image: Image | np.ndarray | None = None,
) -> FlowPlan:
    """Return the plan by which an information flow came about.

    Parameters
    ----------
    flow : Flow
        What was opened.
    model : SegmentationModel, torch.nn.Module, str or Path
        The model that it is of, with the same weights, or what `load_model` takes.
    image : Image or ndarray, optional
        The image that it is of, where the flow's own has no values.

    Returns
    -------
    FlowPlan
        With the causal check left out.

    Raises
    ------
    UserError
        If the model is None, or model or image are others.
    """
    told, target = flow.facts["model"], flow.facts["target"]
    if model is None:
        raise UserError(
            f"this information flow was opened from a folder, and the model {told['name']} is needed to go on: give it as "
            "model=."
        )
    if not isinstance(model, SegmentationModel):
        model = load_model(model)
    if (model.sha256, list(model.labels)) != (told["sha256"], told["labels"]):
        raise UserError(
            f"the information flow is of {told['name']}, and {model.name} has other weights or labels; give the model that "
            "was looked into."
        )
    if told.get("thresholds") != model.card.named_thresholds:
        raise UserError(
            f"the information flow is of labels drawn above other thresholds than those of {model.name}; give the model that "
            "was looked into."
        )
    if image is not None and Image.of(image).sha256 != flow.facts["image"]["sha256"]:
        raise UserError(
            f"the information flow is of {flow.image.name}, and the image that is given has other values; give the image that "
            "was looked into."
        )
    return FlowPlan.make(
        model,
        flow.image if image is None else image,
        flow.labels,
        method=flow.method,
        layers=[layer.name for layer in flow.layers],
        region=flow.target(flow.labels[0]).region,
        score=target["score"],
        reduction=target["reduction"],
        slice=flow.facts["slice"],
        axis=flow.facts["axis"],
        seed=flow.facts["seed"],
        **{key: value for key, value in options_as_dict(flow.options).items() if key != "layer"},
    )
