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
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.activations import each_window
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import Tiles
from napari_segxai.methods.registry import explainer
from napari_segxai.models.introspection.call_names import split_call
from napari_segxai.models.introspection.dispatch import DispatchMode
from napari_segxai.models.introspection.layers import NetworkLayer, not_run
from napari_segxai.models.introspection.modules import as_weights, find_module
from napari_segxai.models.introspection.observed import layer_inputs

if TYPE_CHECKING:
    from napari_segxai.models.segmentation import SegmentationModel


@dataclass(frozen=True)
class Options:
    """Parameters of seg-cam: none."""


@explainer(
    "seg-cam",
    title="Seg-CAM",
    question="layer",
    needs=("network layers",),
    summary="how the last features add up to the label, from the weights of a 1x1 head",
    unit="part of the logit",
    source="Zhou et al., CVPR 2016",
    cites=("zhou2016",),
    options=Options,
    passes=lambda options, size: Passes(1, 0),
)
def seg_cam(question: Question, options: Options) -> Steps[Finding]:
    """Sum the features that enter the head with the head's weights."""
    model = question.model
    head = _head(model)

    def run(part: Question) -> list[Tensor]:
        with layer_inputs(part.model.module, head.name) as entered, torch.inference_mode():
            part.remember_logits(part.forward(part.input).clone())
        if not entered:
            raise not_run(model.name, head.name)
        module = find_module(part.model.module, head.name)
        with torch.no_grad(), _WithoutBias():
            return [module(as_weights(entered[0], module)).float()]  # one per output of the head

    def finding(found: list[Tensor], tiles: Tiles) -> Finding:
        question.pixels  # noqa: B018 - an empty region is told
        sums = found[0][0]
        if len(sums) == len(model.labels):
            return Finding(tiles.place(sums[question.label], adds=False))
        if len(model.labels) == 2 or question.label > 0:  # no output for the background
            map = sums[question.label - 1] if question.label else -sums[0]
            return Finding(tiles.place(map, adds=False))
        raise UserError(
            f"{model.name} has no output for {model.labels[0]!r}, so that no weights speak for it; choose another label."
        )

    outputs, tiles = yield from each_window(question, run, finding)
    return finding(outputs, tiles)


class _WithoutBias(DispatchMode):
    """While open, convolutions add no bias: what is left is the sum of the features with the weights that are used,
    however a module keeps them (grouped, transposed, normalised).
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            args = (*args[:2], None, *args[3:])
        return func(*args, **(kwargs or {}))


def _head(model: SegmentationModel) -> NetworkLayer:
    name = model.roles.linear_head
    if name is not None:
        head = next(layer for layer in model.example_layers if layer.name == name)
        if head.convolution and split_call(name)[1] == 1:
            return head
    raise UserError(
        f"{model.name} does not end in a 1x1 convolution, which seg-cam needs; use seg-hires-grad-cam at its last network "
        "layer, which is the same for such a head."
    )
