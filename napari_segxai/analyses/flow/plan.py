"""Planning an information flow: what is asked is checked, and what it will cost is known, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.inputs import as_image
from napari_segxai.core.arguments import check_types
from napari_segxai.core.errors import UserError, nearest
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Passes
from napari_segxai.core.target import Error, OwnScore, Region, Target, name_of
from napari_segxai.engine.primitives.mean_ablation import Filling
from napari_segxai.methods.activation import (
    grad_pam,
    layer_cam,
    seg_grad_cam,
    seg_hires_grad_cam,
    seg_xres_cam,
)
from napari_segxai.methods.registry import find_method
from napari_segxai.models.ground_truth import Truth, ignored_by, truth_labels
from napari_segxai.models.introspection.layers import NetworkLayer, check_used
from napari_segxai.models.registry import load_model
from napari_segxai.models.segmentation import SegmentationModel

Ablation = Literal["mean", "zero", "both"]
"""How a causal check takes a network layer away: see `causal_check`."""

METHODS: dict[str, Callable[[Tensor, Tensor, Any], Tensor]] = {
    "seg-grad-cam": lambda a, g, options: seg_grad_cam.cam(a, g),
    "seg-hires-grad-cam": lambda a, g, options: seg_hires_grad_cam.cam(a, g),
    "seg-xres-cam": lambda a, g, options: seg_xres_cam.cam(a, g, options.window, options.pooling),
    "layer-cam": lambda a, g, options: layer_cam.cam(a, g),
    "grad-pam": lambda a, g, options: grad_pam.cam(a, g, options.aggregate),
}
"""The methods whose maps can be made for all layers from the same passes."""


@dataclass(frozen=True)
class FlowPlan:
    """What has been checked and can be run as an information flow; it runs nothing.

    Attributes
    ----------
    plans
        By label: what `explain` would be asked; all are of one model and one image.
    layers
        The network layers, in order of execution.
    truth
        In the form of a prediction, or None.
    causal, ablation
        Whether `causal_check` is run as well, and how.
    routes
        Whether relevance is followed through the layers as well.
    warnings
        What was done to bring the truth to the image grid.
    ignored
        Boolean, on the image grid: where nobody has labelled anything; None for nowhere.
    """

    plans: dict[str, ExplanationPlan]
    layers: tuple[NetworkLayer, ...]
    truth: np.ndarray | None = None
    causal: bool = False
    ablation: Ablation = "mean"
    warnings: Sequence[str] = ()
    routes: bool = False
    ignored: np.ndarray | None = None

    @property
    def first(self) -> ExplanationPlan:
        """The plan of the first label: model, image, method, slice, seed and device are those of all."""
        return next(iter(self.plans.values()))

    @property
    def passes(self) -> Passes:
        """The passes that are expected."""
        each = self.first.options.pixels if self.first.method.name == "grad-pam" else 1
        windowed = self.first.model.windows is not None
        causal = ablation_passes(self.layers, self.ablation, windowed=windowed) if self.causal else 0
        forward = 1 + causal
        return Passes(forward + self.routes, len(self.plans) * (each + self.routes))

    @classmethod
    def make(
        cls,
        model: SegmentationModel | nn.Module | str | Path,
        image: Image | np.ndarray,
        labels: Sequence[str | int] | None = None,
        *,
        method: str = "seg-grad-cam",
        layers: Sequence[str] | str | None = None,
        region: Region = None,
        truth: Truth | None = None,
        score: str | OwnScore = "logit",
        reduction: str = "mean",
        against: str | int | None = None,
        boundary: tuple[float, float] | None = None,
        error: Error | None = None,
        component: int = 1,
        slice: int | None = None,
        axis: int | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
        causal: bool = False,
        ablation: Ablation = "mean",
        routes: bool = False,
        **params: Any,
    ) -> FlowPlan:
        """Check everything about an `information_flow` that can be checked without running the network.

        Raises
        ------
        UserError
            For anything that was asked wrongly.
        """
        if not isinstance(model, SegmentationModel):
            model = load_model(model)
        found = check_asked(
            model,
            method=method,
            layers=layers,
            score=score,
            reduction=reduction,
            causal=causal,
            ablation=ablation,
            routes=routes,
            **params,
        )
        image = as_image(image, model, axis)
        if isinstance(labels, str | int):
            labels = [labels]
        held = None if against is None else model.labels[model.label_index(against)]
        chosen = labels if labels is not None else [name for name in model.labels[1:] if name != held]
        names = tuple(dict.fromkeys(model.labels[model.label_index(label)] for label in chosen))
        if error is not None and len(names) > 1:
            raise UserError(
                f"a {error} is of one label, and the flow of {len(names)} is asked for ({', '.join(names)}); name one label."
            )
        if callable(score) and len(names) > 1:
            raise UserError(
                f"the score {name_of(score)!r} is one number of one label, and the flow of {len(names)} is asked for "
                f"({', '.join(names)}); name one label."
            )
        open_error = error is not None and region is None  # else it is found, and the region is where it lies
        if not names:
            raise UserError(f"choose at least one label; {model.name} has {', '.join(model.labels)}.")
        if model.slices(image) is not None and slice is None:
            raise UserError(
                f"{model.name} is a 2D model and {image.name} a volume: choose the slice whose flow is shown."
            )
        plans = {
            name: ExplanationPlan.make(
                model,
                image,
                Target(
                    name,
                    region=region,
                    score=score,  # ty: ignore[invalid-argument-type]
                    reduction=reduction,  # ty: ignore[invalid-argument-type]
                    against=against,
                    boundary=boundary,
                    error=error,
                    component=component,
                    truth=truth if open_error else None,
                ),
                method,
                seed=seed,
                device=device,
                slice=slice,
                layer=found[0].name,
                **params,
            )
            for name in names
        }
        values, notes = (
            (None, [])
            if truth is None
            else truth_labels(truth, image, model, [model.label_index(name) for name in names])
        )
        ignored = None if truth is None else ignored_by(truth, image, model)
        return cls(plans, found, values, causal, ablation, notes, routes, ignored)


def check_asked(
    model: SegmentationModel,
    *,
    method: str = "seg-grad-cam",
    layers: Sequence[str] | str | None = None,
    score: str | OwnScore = "logit",
    reduction: str = "mean",
    against: str | int | None = None,
    boundary: tuple[float, float] | None = None,
    causal: bool = False,
    ablation: Ablation = "mean",
    routes: bool = False,
    **params: Any,
) -> tuple[NetworkLayer, ...]:
    """Check what of an information flow can be checked without an image, and return its network layers.

    Raises
    ------
    UserError
        For anything that was asked wrongly.
    """
    check_types("information_flow", {"causal": causal, "routes": routes}, {"causal": bool, "routes": bool})
    fillings(ablation)  # raises
    if method not in METHODS:
        raise UserError(f"an information flow of {method!r} cannot be made; {nearest(method, METHODS)}")
    found = _chosen_layers(model, layers)
    find_method(method).make_options({"layer": found[0].name, **params})  # raises
    if against is not None:
        model.label_index(against)  # raises
    Target(model.labels[0], score=score, reduction=reduction, boundary=boundary)  # raises
    return found


def ablation_passes(
    layers: Sequence[NetworkLayer], ablation: Ablation = "mean", *, windowed: bool = False
) -> int:
    """Return how many forward passes `causal_check` needs at most; through windows one more for each layer, and one for their means."""
    found = fillings(ablation)
    if windowed:
        return 3 * len(layers) * len(found) + ("mean" in found)
    return (1 + 2 * len(layers)) * len(found)


def fillings(ablation: str) -> tuple[Filling, ...]:
    """Return the kinds of ablation to run.

    Raises
    ------
    UserError
        For another word.
    """
    if ablation not in get_args(Ablation):
        raise UserError(f"ablation {ablation!r} is unknown; choose {', '.join(get_args(Ablation))}.")
    return ("mean", "zero") if ablation == "both" else (ablation,)


def _chosen_layers(model: SegmentationModel, layers: Sequence[str] | str | None) -> tuple[NetworkLayer, ...]:
    model.require(("network layers",))
    if layers is None:
        found = model.outline
    elif layers == "all":
        found = model.example_layers
    else:
        named = {model.find_layer(name).name for name in ([layers] if isinstance(layers, str) else layers)}
        found = tuple(layer for layer in model.example_layers if layer.name in named)
        for layer in found:
            check_used(layer, model.name)
    if not found:
        raise UserError(f"{model.name} has no network layers that can be named.")
    return found
