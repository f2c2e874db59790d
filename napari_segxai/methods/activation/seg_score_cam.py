"""Seg-Score-CAM: every channel of a network layer becomes a mask of the image, weighted by the score it keeps.

    L = sum_k w_k A^k,   w = softmax_k(y(x * H^k)),   H^k = A^k enlarged to the image and scaled to [0, 1]

Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu, CVPR Workshops 2020; for segmentation with y = score of the label
over M. No gradient. Published code sums y over the whole output, where the softmax of sums over 10^4 pixels picks a
single channel; the mean over M (the target's default) does not saturate, and "min-max" or "raw" weights avoid the
softmax. Channels that are constant hide nothing and count for nothing. Cost: 1 + (channels) forward passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import HELP, Baseline
from napari_segxai.engine.primitives.activations import activations
from napari_segxai.engine.primitives.perturb import perturb
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import Tiles
from napari_segxai.methods.activation.seg_grad_cam import weighted_sum
from napari_segxai.methods.registry import explainer

WEIGHTS = "how scores become weights; softmax as published, min-max and raw scores do not saturate"
LINEAR = {2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class Options:
    """Parameters of seg-score-cam."""

    layer: LayerName = option("bottleneck", help="network layer whose channels become masks")
    weights: Literal["softmax", "min-max", "raw"] = option("softmax", help=WEIGHTS)
    baseline: Baseline = option("zero", help=HELP, advanced=True)


@explainer(
    "seg-score-cam",
    title="Seg-Score-CAM",
    question="layer",
    needs=("network layers",),
    summary="which feature channels keep the label in the segmentation when only what they see is shown",
    unit="weighted activation",
    source="Wang et al., CVPR Workshops 2020",
    cites=("wang2020",),
    reads="score",
    options=Options,
    passes=lambda options, size: Passes(1 + size.channels(options.layer), 0),
)
def seg_score_cam(question: Question, options: Options) -> Steps[Finding]:
    """Weight every channel by the score behind its mask."""
    [activation], tiles = yield from activations(question, [options.layer])
    map = yield from score_cam(question, activation, tiles, options.weights, options.baseline, "channel")
    return Finding(map)


def score_cam(
    question: Question, activation: Tensor, tiles: Tiles, weights: str, baseline: Baseline, note: str
) -> Steps[Tensor]:
    """Return the map of a network layer from its activation (1, channels, *cells): (*cells)."""
    low = activation.amin(tuple(range(2, activation.ndim)), keepdim=True)
    span = activation.amax(tuple(range(2, activation.ndim)), keepdim=True) - low
    usable = span.flatten() > 0
    unit = (activation - low) / span.where(span > 0, 1)
    scores = torch.zeros(activation.shape[1], device=question.device)

    def masks(start: int, n: int) -> Tensor:
        part = torch.stack([tiles.place(one, adds=False) for one in unit[0, start : start + n]])[:, None]
        return F.interpolate(part, question.grid, mode=LINEAR[part.ndim - 2], align_corners=False)

    def consume(start: int, _masks: Tensor, logits: Tensor) -> None:
        scores[start : start + len(logits)] = question.section(question.read_at).score(logits)

    def combined() -> Tensor:
        return tiles.place(weighted_sum(activation, _weights(scores, usable, weights)), adds=False)

    yield from perturb(
        question,
        len(scores),
        masks,
        consume,
        hide=question.hide(baseline),
        note=note,
        where=question.read_at,
        partial=lambda: Finding(combined()),
    )
    return combined()


def _weights(scores: Tensor, usable: Tensor, kind: str) -> Tensor:
    if not bool(usable.any()):
        return torch.zeros_like(scores)
    if kind == "softmax":
        return scores.masked_fill(~usable, -torch.inf).softmax(0)
    if kind == "min-max":
        low, high = scores[usable].min(), scores[usable].max()
        scores = (scores - low) / (high - low if high > low else 1)
    return scores * usable
