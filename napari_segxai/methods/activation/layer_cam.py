"""Layer-CAM: activation times the positive part of the gradient at every position of one network layer.

    L = sum_k ReLU(d y / d A^k) * A^k   (elementwise),   y = score of the label over M

Jiang, Zhang, Hou, Cheng, Wei, IEEE TIP 2021, for segmentation with y over a set of pixels. Between Seg-HiRes-Grad-CAM
(which keeps negative gradients) and guided backpropagation (which drops them at every layer). Works on early network
layers, where pooled gradients are noise. What speaks against the label is left out: read it beside
Seg-HiRes-Grad-CAM. Cost: 1 forward, 1 backward.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.activations import products
from napari_segxai.engine.question import Question
from napari_segxai.methods.registry import explainer


@dataclass(frozen=True)
class Options:
    """Parameters of layer-cam."""

    layer: LayerName = option("bottleneck", help="network layer whose activations are weighted")


@explainer(
    "layer-cam",
    title="Layer-CAM",
    question="layer",
    needs=("network layers", "gradients"),
    summary="where in a network layer active features push the label, counting only pushes upwards",
    unit="activation × gradient of the {score}",
    source="Jiang et al., IEEE TIP 2021",
    cites=("jiang2021",),
    options=Options,
    passes=lambda options, size: Passes(1, 1),
)
def layer_cam(question: Question, options: Options) -> Steps[Finding]:
    """Multiply activation and positive gradient."""
    map, _ = yield from products(
        question, options.layer, lambda gradient: gradient.clamp(min=0), warn=False, partial=Finding
    )
    return Finding(map)


def cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Return the map of a network layer from (1, channels, *cells): (*cells)."""
    return (gradient.clamp(min=0) * activation).sum(1)[0]
