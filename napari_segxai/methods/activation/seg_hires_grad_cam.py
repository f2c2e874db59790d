"""Seg-HiRes-Grad-CAM: activation times gradient at every position of one network layer.

    L = sum_k d y / d A^k * A^k   (elementwise),   y = score of the label over M

Rheude, Wirtz, Kuijper, Wesarg, MELBA 2024 (eq. 6), after HiResCAM (Draelos and Carin 2020). With a linear head
after the layer the map adds up to the score minus the bias. The map is kept raw and signed. Cost: 1
forward, 1 backward.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.intermediates import HELP as INTERMEDIATES
from napari_segxai.engine.primitives.activations import products
from napari_segxai.engine.question import Question
from napari_segxai.methods.registry import explainer


@dataclass(frozen=True)
class Options:
    """Parameters of seg-hires-grad-cam."""

    layer: LayerName = option("bottleneck", help="network layer whose activations are weighted")
    intermediates: int = option(0, ge=0, unit="channels", help=INTERMEDIATES, advanced=True)


@explainer(
    "seg-hires-grad-cam",
    title="Seg-HiRes-Grad-CAM",
    question="layer",
    needs=("network layers", "gradients"),
    summary="where in a network layer the activations push the label's score up or down",
    unit="activation × gradient of the {score}",
    source="Rheude et al., MELBA 2024",
    cites=("rheude2024", "draelos2020"),
    options=Options,
    passes=lambda options, size: Passes(1, 1),
)
def seg_hires_grad_cam(question: Question, options: Options) -> Steps[Finding]:
    """Multiply activation and gradient."""
    map, parts = yield from products(
        question, options.layer, lambda gradient: gradient, options.intermediates, partial=Finding
    )
    return Finding(map, maps=parts)


def cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Return the map of a network layer from (1, channels, *cells): (*cells)."""
    return (gradient * activation).sum(1)[0]
