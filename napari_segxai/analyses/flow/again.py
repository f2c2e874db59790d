"""Asking once more what an information flow was asked: for one that was opened from a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from napari_segxai.analyses.again import image_again, model_again
from napari_segxai.analyses.flow.plan import Ablation, FlowPlan
from napari_segxai.analyses.flow.result import Flow
from napari_segxai.core.image import Image
from napari_segxai.methods.registry import options_as_dict
from napari_segxai.models.segmentation import SegmentationModel


def plan_again(
    flow: Flow,
    model: SegmentationModel | nn.Module | str | Path | None,
    image: Image | np.ndarray | None = None,
    *,
    device: str | None = None,
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
    device : str, optional
        Where it runs now; by default where it ran.

    Returns
    -------
    FlowPlan
        With the truth and the causal check, if there were any.

    Raises
    ------
    UserError
        If the model is None, or model or image are others.
    """
    target, ablation = flow.facts["target"], ablation_of(flow)
    plan = FlowPlan.make(
        model_again(flow.facts["model"], model, "information flow"),
        image_again(flow.image, image, "information flow"),
        flow.labels,
        method=flow.method,
        layers=[layer.name for layer in flow.layers],
        region=flow.target(flow.labels[0]).region,
        truth=flow.truth,
        score=flow.target(flow.labels[0]).score,
        reduction=target["reduction"],
        **{key: target[key] for key in ("against", "error", "component") if key in target},
        boundary=flow.target(flow.labels[0]).boundary,
        slice=flow.facts["slice"],
        axis=flow.facts["axis"],
        seed=flow.facts["seed"],
        device=device or flow.facts["device"],
        causal=ablation is not None,
        ablation=ablation or "mean",
        routes=any(tile.relevance is not None for tile in flow.tiles.values()),
        **{key: value for key, value in options_as_dict(flow.options).items() if key != "layer"},
    )
    return replace(plan, warnings=tuple(flow.truth_notes))


def ablation_of(flow: Flow) -> Ablation | None:
    """Return by which kinds of ablation the causal check of a flow was made; None without one."""
    tiles = flow.tiles.values()
    mean, zero = (any(getattr(tile, name) is not None for tile in tiles) for name in ("lost", "lost_zero"))
    if mean and zero:
        return "both"
    return "mean" if mean else "zero" if zero else None
