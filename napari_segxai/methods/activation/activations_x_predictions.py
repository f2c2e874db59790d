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
from napari_segxai.engine.pooled import Pooling, Stage, Sums, pooled_maps
from napari_segxai.engine.primitives.activations import Recorded
from napari_segxai.engine.question import Question
from napari_segxai.methods.activation.seg_grad_cam import weighing
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

    def probable(one: Recorded) -> Tensor:
        question.pixels  # noqa: B018 - an empty region is told
        probability = question.model.probability(question.logits, question.label)[0]
        if question.target.region is not None:
            probability = probability * question.weights
        return one.tiles.take(probability, tuple(one.activation.shape[2:]))

    def sums(one: Recorded, known: Sums) -> Sums:
        """Return the mean of every channel, inside the prediction, over the whole layer, in which every place counts once."""
        counted = one.activation * (probable(one) * one.tiles.shares(one.activation))
        return (one.tiles.mean(counted)[0],)

    pooling = Pooling((Stage(sums, gradients=False),), lambda sums: weighing(sums[0]))
    if options.weights == "elementwise":
        pooling = Pooling((), lambda sums: lambda one: one.activation[0].sum(0) * probable(one))
    return (yield from pooled_maps(question, [options.layer], pooling, lambda found: Finding(found.maps[0])))
