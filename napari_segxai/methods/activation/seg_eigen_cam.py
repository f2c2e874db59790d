"""Seg-Eigen-CAM: the first principal component of a network layer's activations.

    L = (A - mean) v,   v = the first right singular vector of the centred activations, (positions, channels)

Muhammad and Yeasin, IJCNN 2020; with weights |g| or g (g = d y / d A) after Chung and Ying 2025. Without gradients
it does not know the label: it shows what stands out to the network, whatever it is. The sign of a singular vector is
arbitrary, which is why published maps sometimes show the complement of the object; here the map is turned so that it
agrees with the label's probability ("agreement") or so that its largest value is positive ("magnitude"). The
decomposition is that of a (channels x channels) matrix. Cost: 1 forward, with gradients 1 backward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.activations import Recorded, activations, record
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import Tiles
from napari_segxai.methods.registry import explainer
from napari_segxai.models.preprocessing.resample import resize


@dataclass(frozen=True)
class Options:
    """Parameters of seg-eigen-cam."""

    layer: LayerName = option("bottleneck", help="network layer whose activations are decomposed")
    weighting: Literal["none", "gradient", "absolute gradient"] = option(
        "none", help="what activations are multiplied with first; only with gradients the label counts"
    )
    sign: Literal["agreement", "magnitude"] = option(
        "agreement", help="positive where the label is probable, or where the component is largest"
    )


@explainer(
    "seg-eigen-cam",
    title="Seg-Eigen-CAM",
    question="layer",
    needs=("network layers",),
    summary="the pattern that dominates a network layer; without gradients the same for every label",
    unit="activation along the first component",
    source="Muhammad and Yeasin, IJCNN 2020; Chung and Ying 2025",
    cites=("muhammad2020", "chung2025"),
    options=Options,
    passes=lambda options, size: Passes(1, 0 if options.weighting == "none" else 1),
    presets={"eigen": {}, "eigen with gradients": {"weighting": "absolute gradient"}},
)
def seg_eigen_cam(question: Question, options: Options) -> Steps[Finding]:
    """Project the activations on their first principal component."""

    def finding(found: list[Tensor], tiles: Tiles) -> Finding:
        map = tiles.place(first_component(found[0]), adds=False)
        if options.sign == "magnitude":
            flip = -map.min() > map.max()
        else:
            # On the grid of the prediction: a coarse sample of it would miss small objects.
            probability = question.model.probability(question.logits, question.label)[0]
            large = resize(map[None, None], tuple(probability.shape), linear=True)[0, 0]
            flip = ((probability - probability.mean()) * large).sum() < 0
        return Finding(-map if bool(flip) else map)

    def weighted(recorded: list[Recorded]) -> Finding:
        [(activation, gradient, tiles)] = recorded
        return finding(
            [activation * (gradient if options.weighting == "gradient" else gradient.abs())], tiles
        )

    if options.weighting == "none":
        return finding(*(yield from activations(question, [options.layer], finding)))
    return weighted((yield from record(question, [options.layer], partial=weighted)))


def first_component(activation: Tensor) -> Tensor:
    """Return the projection on the first principal component, in either sign: (1, channels, *cells) -> (*cells)."""
    x = activation[0].flatten(1).double()  # eigenvectors of nearly equal values need the digits
    x = x - x.mean(1, keepdim=True)
    _, vectors = torch.linalg.eigh(x @ x.T)
    return (vectors[:, -1] @ x).to(activation.dtype).unflatten(0, activation.shape[2:])
