"""Seg-XGrad-CAM: channels weighted by their gradient, averaged where the channel is active.

    L = sum_k w_k A^k,   w_k = sum over positions of g A^k / sum over positions of A^k

with g = d y / d A^k, y = score of the label over M. Fu, Hu, Dong, Guo, Gao, Li, BMVC 2020: the weights that conserve
the score best while staying sensitive to each channel. Made for activations that are not negative (after a ReLU):
where a channel's values cancel, the quotient explodes; such channels get the weight 0 and a warning says how many.
Cost: 1 forward, 1 backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.pooled import Pooled, Pooling, Stage, Sums, pooled_maps
from napari_segxai.engine.primitives.activations import Recorded
from napari_segxai.engine.primitives.cancellation import CANCELS, cancels
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import finest
from napari_segxai.methods.activation.seg_grad_cam import weighing
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

    def finding(found: Pooled) -> Finding:
        return Finding(found.maps[0], warnings=found.warnings)

    return (yield from pooled_maps(question, [options.layer], POOLING, finding))


def _sums(one: Recorded, known: Sums) -> Sums:
    """Return by channel the sums of activation times gradient, of that without signs, of the activation, and of that without signs.

    Products of windows add up; of the activation every place counts once.
    """
    activation, gradient, tiles = one
    a = activation[0].flatten(1)
    product, share = gradient[0].flatten(1) * a, tiles.shares(activation).flatten()
    summed = [product.sum(1, dtype=finest(product)), product.abs().sum(1, dtype=finest(product))]
    return *summed, (a @ share).to(finest(a)), (a.abs() @ share).to(finest(a))


def _weights(sums: Sums) -> tuple[Tensor, int]:
    """Return (channels,) weights, and how many channels have values that cancel."""
    product, _, total, size = sums
    safe = total.abs() > CANCELS * size
    return (product / total.where(safe, 1)).where(safe, 0), int((~safe & (size > 0)).sum())


def _said(names: Sequence[str], sums: Sequence[Sums]) -> list[str]:
    said = []
    for name, one in zip(names, sums, strict=True):
        weights, cancelling = _weights(one)
        if cancelling:
            said.append(
                f"{cancelling} of {len(weights)} channels of {name} hold values that cancel and count for nothing; "
                "take the layer after the activation function."
            )
        if cancels(one[0], one[1]):
            said.append(
                f"activation and gradient of {name} cancel in every channel, as they do before an instance normalisation: "
                "the map is numerical noise; choose the network layer after the normalisation, or use seg-hires-grad-cam."
            )
    return said


POOLING = Pooling((Stage(_sums),), lambda sums: weighing(_weights(sums)[0]), said=_said)
