"""Seg-Eigen-CAM: the first principal component of a network layer's activations.

    L = (A - mean) v,   v = the first right singular vector of the centred activations, (positions, channels)

Muhammad and Yeasin, IJCNN 2020; with weights |g| or g (g = d y / d A) after Chung and Ying 2025. Without gradients
it does not know the label: it shows what stands out to the network, whatever it is. The sign of a singular vector is
arbitrary, which is why published maps sometimes show the complement of the object; here the map is turned so that it
agrees with the label's probability ("agreement") or so that its largest value is positive ("magnitude"). The
decomposition is that of a (channels x channels) matrix. Cost: 1 forward, with gradients 1 backward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.pooled import Pooled, Pooling, Stage, Sums, pooled_maps
from napari_segxai.engine.primitives.activations import Recorded
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import finest
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

    def finding(found: Pooled) -> Finding:
        [map] = found.maps
        if options.sign == "magnitude":
            flip = -map.min() > map.max()
        else:
            # On the grid of the prediction: a coarse sample of it would miss small objects.
            probability = question.model.probability(question.logits, question.label)[0]
            large = resize(map[None, None], tuple(probability.shape), linear=True)[0, 0]
            flip = ((probability - probability.mean()) * large).sum() < 0
        return Finding(-map if bool(flip) else map)

    return (yield from pooled_maps(question, [options.layer], _pooling(options), finding))


def _pooling(options: Options) -> Pooling:
    """Return how the projection is made: of sums, products of channels among them, in which every place counts once.

    With gradients, what windows say of a place are parts of one value, as large as their shares in it.
    """
    gradients = options.weighting != "none"

    def values(one: Recorded) -> Tensor:
        if not gradients:
            return one.activation[0].flatten(1)
        gradient = one.gradient if options.weighting == "gradient" else one.gradient.abs()
        return (one.activation * gradient)[0].flatten(1)

    def sums(one: Recorded, known: Sums) -> Sums:
        x, share = values(one), one.tiles.shares(one.activation).flatten()
        count, total, products = 0.0, 0.0, 0.0
        for part, own in zip(x.split(CELLS, 1), share.split(CELLS), strict=True):
            part, own = (
                part.to(finest(part)),
                own.to(finest(own)),
            )  # eigenvectors of nearly equal values need the digits
            count = count + (own.square() if gradients else own).sum()
            total = total + part @ own
            products = products + (part if gradients else part * own) @ part.T
        return torch.as_tensor(count), torch.as_tensor(total), torch.as_tensor(products)

    def map(sums: Sums) -> Callable[[Recorded], Tensor]:
        count, total, products = sums
        mean = (total / count)[:, None]
        _, vectors = torch.linalg.eigh(products / count - mean @ mean.T)
        first = vectors[:, -1]

        def along(one: Recorded) -> Tensor:
            x, share = values(one), one.tiles.shares(one.activation).flatten()
            share = share if gradients else torch.ones_like(share)
            pairs = zip(x.split(CELLS, 1), share.split(CELLS), strict=True)
            found = [first @ (part.to(finest(part)) - mean * own.to(finest(own))) for part, own in pairs]
            return torch.cat(found).to(one.activation.dtype).unflatten(0, one.activation.shape[2:])

        return along

    return Pooling((Stage(sums, gradients),), map, gradients, adds=gradients)


CELLS = 2**18
"""Cells that are summed at once."""
