"""Seg-Grad-CAM++: channels weighted by their positive gradients, each with a coefficient of its own.

    L = sum_k w_k A^k,   w_k = sum over positions of a * ReLU(g),   a = g^2 / (2 g^2 + (sum A^k) g^3 + eps)

with g = d y / d A^k, a = 0 where g = 0, y = score of the label over M. Chattopadhay, Sarkar, Howlader,
Balasubramanian, WACV 2018. The coefficient comes from an exponential of y and is not invariant to the scale of y, so
that the target's reduction (mean or sum) changes the map a little. Where a channel's sum is negative, the
denominator can change its sign; such places count for nothing here. Meant for several objects of one label: a small
one is not outvoted by a large one. Cost: 1 forward, 1 backward.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.pooled import Pooled, Pooling, Stage, Sums, pooled_maps
from napari_segxai.engine.primitives.activations import Recorded
from napari_segxai.engine.question import Question
from napari_segxai.methods.activation.seg_grad_cam import weighing
from napari_segxai.methods.registry import explainer

EPSILON = 1e-6


@dataclass(frozen=True)
class Options:
    """Parameters of seg-grad-cam-plus-plus."""

    layer: LayerName = option("bottleneck", help="network layer whose activations are weighted")


@explainer(
    "seg-grad-cam-plus-plus",
    title="Seg-Grad-CAM++",
    question="layer",
    needs=("network layers", "gradients"),
    summary="which feature channels speak for the label, weighting places with a strong gradient more",
    unit="activation × gradient of the {score}",
    source="Chattopadhay et al., WACV 2018; for segmentation after Mullan and Sonka 2022",
    cites=("chattopadhay2018", "mullan2022"),
    options=Options,
    passes=lambda options, size: Passes(1, 1),
)
def seg_grad_cam_plus_plus(question: Question, options: Options) -> Steps[Finding]:
    """Weight every channel by its positive gradients, strong ones more."""

    def finding(found: Pooled) -> Finding:
        return Finding(found.maps[0])

    return (yield from pooled_maps(question, [options.layer], POSITIVE_GRADIENTS, finding))


def _totals(one: Recorded, known: Sums) -> Sums:
    """Return the sum of every channel's activation, in which every place counts once."""
    return (one.activation[0].flatten(1) @ one.tiles.shares(one.activation).flatten(),)


def _weights(one: Recorded, known: Sums) -> Sums:
    g, total = one.gradient[0].flatten(1), known[0][:, None]
    denominator = 2 * g**2 + total * g**3 + EPSILON
    share = (g**2 / denominator).where((g != 0) & (denominator > 0), 0)
    return ((share * g.clamp(min=0)).sum(1),)


POSITIVE_GRADIENTS = Pooling(
    (Stage(_totals, gradients=False), Stage(_weights)), lambda sums: weighing(sums[1])
)
"""Channels, each weighted by its positive gradients with coefficients of their own."""
