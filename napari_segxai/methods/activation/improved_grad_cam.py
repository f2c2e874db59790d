"""Improved Grad-CAM for segmentation: Seg-Grad-CAM of the pixels that are probable enough.

    L = sum_k alpha_k A^k,   alpha_k = mean over positions of d y / d A^k,   y = score over {p > t}

Xiao, Zhang, Li, Wang, Li, 2021: the sum of the output pixels above a threshold is propagated back. The paper's
abstract names no threshold; 0.5 is ours. With M the predicted pixels of a network with two labels, a threshold of
0.5 is Seg-Grad-CAM itself; a higher one asks about the sure core of the object, a lower one includes its doubtful
rim. Cost: 1 forward, 1 backward.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import EmptyRegion, Finding
from napari_segxai.engine.pooled import Pooled, pooled_maps
from napari_segxai.engine.question import Question
from napari_segxai.engine.scores import reduce_scores
from napari_segxai.methods.activation.seg_grad_cam import MEAN_GRADIENTS
from napari_segxai.methods.registry import explainer


@dataclass(frozen=True)
class Options:
    """Parameters of improved-grad-cam."""

    layer: LayerName = option("bottleneck", help="network layer whose activations are weighted")
    threshold: float = option(0.5, ge=0, le=1, help="probability above which a pixel is asked about")


@explainer(
    "improved-grad-cam",
    title="Improved Grad-CAM",
    question="layer",
    needs=("network layers", "gradients"),
    summary="which feature channels of a network layer speak for the pixels that the network is sure of",
    unit="activation × gradient of the {score}",
    source="Xiao et al. 2021",
    cites=("xiao2021",),
    reads="pixel scores",
    options=Options,
    passes=lambda options, size: Passes(1, 1),
)
def improved_grad_cam(question: Question, options: Options) -> Steps[Finding]:
    """Weight every channel by its mean gradient of the probable pixels."""

    def score(logits: Tensor) -> Tensor:
        sure = question.model.probability(logits.detach(), question.label)[0] > options.threshold
        if question.target.region is not None:
            sure &= question.pixels
        if not bool(sure.any()):
            question.remember_logits(logits)
            question.drawn_object()  # raises where the label is not drawn, which says more
            raise EmptyRegion(
                f"{question.model.name} gives no pixel a probability of {question.model.labels[question.label]!r} above "
                f"{options.threshold:g}, so there is nothing to explain and the map is zero."
            )
        return reduce_scores(question.scores(logits), sure.float(), question.target.reduction)

    def finding(found: Pooled) -> Finding:
        return Finding(found.maps[0], warnings=found.warnings)

    return (yield from pooled_maps(question, [options.layer], MEAN_GRADIENTS, finding, score))
