"""Activations x predictions: features that are active where the label is predicted.

    elementwise:  L = sum_k A^k * p          pooled:  L = sum_k w_k A^k,  w_k = mean over positions of A^k p

with p = probability of the label, brought to the network layer's grid. After Saleem, Shahid, Raza 2021,
reconstructed: the text could not be obtained, only that the method needs no gradient and works in 3D. "elementwise"
can only show places inside the prediction; "pooled" finds the channels that fire there and shows wherever else they
fire. For a region, p counts inside it alone. No causal claim: a feature can be active there and not be used. Cost: 1
forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.activations import activations
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import Tiles
from napari_segxai.methods.activation.seg_grad_cam import weighted_sum
from napari_segxai.methods.registry import explainer


@dataclass(frozen=True)
class Options:
    """Parameters of activations-x-predictions."""

    layer: LayerName = option("last", help="network layer whose activations are taken")
    weights: Literal["elementwise", "pooled"] = option(
        "pooled", help="multiply place by place, or weight each channel by its mean inside the prediction"
    )


@explainer(
    "activations-x-predictions",
    title="Activations x predictions",
    question="layer",
    needs=("network layers",),
    summary="which features are active where the label is predicted, and where else they are",
    unit=lambda options: (
        "activation × probability" if options.weights == "elementwise" else "weighted activation"
    ),
    source="after Saleem et al. 2021, reconstructed",
    cites=("saleem2021",),
    options=Options,
    passes=lambda options, size: Passes(1, 0),
)
def activations_x_predictions(question: Question, options: Options) -> Steps[Finding]:
    """Multiply activations with the label's probability."""

    def finding(found: list[Tensor], tiles: Tiles) -> Finding:
        [activation] = found
        question.pixels  # noqa: B018 - an empty region is told
        probability = question.model.probability(question.logits, question.label)[0]
        if question.target.region is not None:
            probability = probability * question.weights
        small = tiles.take(probability, tuple(activation.shape[2:]))
        if options.weights == "elementwise":
            return Finding(tiles.place(activation[0].sum(0) * small, adds=False))
        weights = tiles.mean(activation * small)[0]
        return Finding(tiles.place(weighted_sum(activation, weights), adds=False))

    return finding(*(yield from activations(question, [options.layer], finding)))
