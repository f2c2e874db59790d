"""Seg-XGrad-CAM: channels weighted by their gradient, averaged where the channel is active.

    L = sum_k w_k A^k,   w_k = sum over positions of g A^k / sum over positions of A^k

with g = d y / d A^k, y = score of the label over M. Fu, Hu, Dong, Guo, Gao, Li, BMVC 2020: the weights that conserve
the score best while staying sensitive to each channel. Made for activations that are not negative (after a ReLU):
where a channel's values cancel, the quotient explodes; such channels get the weight 0 and a warning says how many.
Cost: 1 forward, 1 backward.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.activations import Recorded, record
from napari_segxai.engine.primitives.cancellation import CANCELS, cancels
from napari_segxai.engine.question import Question
from napari_segxai.methods.activation.seg_grad_cam import weighted_sum
from napari_segxai.methods.registry import explainer


@dataclass(frozen=True)
class Options:
    """Parameters of seg-xgrad-cam."""

    layer: LayerName = option("bottleneck", help="network layer whose activations are weighted")


@explainer(
    "seg-xgrad-cam",
    title="Seg-XGrad-CAM",
    question="layer",
    needs=("network layers", "gradients"),
    summary="which feature channels speak for the label, where they are active",
    unit="activation × gradient of the {score}",
    source="Fu et al., BMVC 2020",
    cites=("fu2020",),
    options=Options,
    passes=lambda options, size: Passes(1, 1),
)
def seg_xgrad_cam(question: Question, options: Options) -> Steps[Finding]:
    """Weight every channel by its gradient where it is active."""

    def finding(recorded: list[Recorded]) -> Finding:
        [(activation, gradient, tiles)] = recorded
        weights, cancelling = channel_weights(activation, gradient)
        said = []
        if cancelling:
            said.append(
                f"{cancelling} of {len(weights)} channels of {options.layer} hold values that cancel and count for nothing; "
                "take the layer after the activation function."
            )
        products = (activation * gradient)[0].flatten(1)
        if cancels(products.sum(1), products.abs().sum(1)):
            said.append(
                f"activation and gradient of {options.layer} cancel in every channel, as they do before an instance normalisation: "
                "the map is numerical noise; choose the network layer after the normalisation, or use seg-hires-grad-cam."
            )
        return Finding(tiles.place(weighted_sum(activation, weights), adds=False), warnings=said)

    return finding((yield from record(question, [options.layer], partial=finding)))


def channel_weights(activation: Tensor, gradient: Tensor) -> tuple[Tensor, int]:
    """Return (channels,) weights, and how many channels have values that cancel."""
    a, g = activation[0].flatten(1), gradient[0].flatten(1)
    total, size = a.sum(1), a.abs().sum(1)
    safe = total.abs() > CANCELS * size
    weights = ((g * a).sum(1) / total.where(safe, 1)).where(safe, 0)
    return weights, int((~safe & (size > 0)).sum())
