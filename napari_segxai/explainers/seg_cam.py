"""Seg-CAM: the evidence map of a 1x1 head, straight from its weights.

    L = sum_k W[label, k] A^k,   A = what enters the 1x1 convolution that ends the network

Zhou, Khosla, Lapedriza, Oliva, Torralba, CVPR 2016, carried over to segmentation networks that end in a 1x1
convolution. No gradient and no choice of a network layer; over the whole image, the map adds up to the label's
logits minus the bias. As the last decoder layer decides but does not see far, the map restates the logit map: it
shows what the network says, not why. For a one-logit network, the background's map is minus the object's. Cost: 1
forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_segxai.engine.layers import NetworkLayer
from napari_segxai.engine.modules import find_module
from napari_segxai.engine.passes import Passes, Steps
from napari_segxai.engine.question import Finding, Question
from napari_segxai.engine.record import entering
from napari_segxai.errors import UserError
from napari_segxai.explainers.registry import explainer
from napari_segxai.explainers.seg_grad_cam import weighted_sum

if TYPE_CHECKING:
    from napari_segxai.model.segmentation import SegmentationModel


@dataclass(frozen=True)
class Options:
    """Parameters of seg-cam: none."""


@explainer(
    "seg-cam",
    title="Seg-CAM",
    family="intermediate features",
    question="layer",
    needs=("network layers",),
    summary="how the last features add up to the label, from the weights of a 1x1 head",
    source="Zhou et al., CVPR 2016",
    options=Options,
    passes=lambda options, size: Passes(1, 0),
)
def seg_cam(question: Question, options: Options) -> Steps[Finding]:
    """Sum the features that enter the head with the head's weights."""
    model = question.model
    head = _head(model)
    with entering(model, head.name) as entered, torch.inference_mode():
        logits = question.forward(question.input)
    question.remember_logits(logits.clone())
    question.pixels  # noqa: B018 - an empty region is told
    yield question.step("forward pass")
    weight = find_module(model.module, head.name).weight.flatten(1)
    if len(weight) == len(model.labels):
        row = weight[question.label]
    elif len(model.labels) == 2 or question.label > 0:  # no output for the background
        row = weight[question.label - 1] if question.label else -weight[0]
    else:
        raise UserError(
            f"{model.name} has no output for {model.labels[0]!r}, so that no weights speak for it; choose another label."
        )
    return Finding(weighted_sum(entered[0], row))


def _head(model: SegmentationModel) -> NetworkLayer:
    name = model.roles.linear_head
    if name is not None:
        head = next(layer for layer in model.example_layers if layer.name == name)
        weight = getattr(find_module(model.module, name.partition("@")[0]), "weight", None)
        if head.convolution and "@" not in name and isinstance(weight, torch.Tensor):
            return head
    raise UserError(
        f"{model.name} does not end in a 1x1 convolution, which seg-cam needs; use seg-hires-grad-cam at its last network "
        "layer, which is the same for such a head."
    )
