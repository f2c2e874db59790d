"""Seg-Ablation-CAM: channels of a network layer, weighted by what the score loses without them.

    L = sum_k w_k A^k,   w_k = (y - y_k) / |y|,   y_k = score with channel k replaced

Desai and Ramaswamy, WACV 2020 (Ramaswamy and Desai); for segmentation with y = score of the label over M. No
gradient: what a channel is worth is tried out. Published code replaces a channel by a huge negative number where it
can be negative, which throws a segmentation network far off; here it becomes 0 or its own mean. The score's absolute
value is divided by, so that a negative logit does not turn the map round. Only what follows the layer is computed
again for every channel. Through windows a channel is taken away in all of them, and the score is that of the logits of all windows together.
Cost: 1 forward, (channels) passes from the layer on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.interventions import Change, Interventions
from napari_segxai.engine.primitives.layer_replay import Replay
from napari_segxai.engine.question import Question
from napari_segxai.methods.activation.seg_grad_cam import weighted_sum
from napari_segxai.methods.registry import explainer

EPSILON = 1e-12


ROUNDING = 1e-6
"""A score that changes by a smaller share has not changed."""


@dataclass(frozen=True)
class Options:
    """Parameters of seg-ablation-cam."""

    layer: LayerName = option("bottleneck", help="network layer whose channels are taken away")
    replacement: Literal["zero", "mean"] = option(
        "zero", help="what a channel becomes: 0, or its own mean (which hides where, not how much)"
    )


@explainer(
    "seg-ablation-cam",
    title="Seg-Ablation-CAM",
    question="layer",
    needs=("network layers",),
    summary="which feature channels the label would miss if they were gone",
    unit="activation × share of the {score} lost",
    source="Ramaswamy and Desai, WACV 2020",
    cites=("ramaswamy2020",),
    options=Options,
    passes=lambda options, size: Passes(1, 0, 2 + size.channels(options.layer)),
)
def seg_ablation_cam(question: Question, options: Options) -> Steps[Finding]:
    """Take away one channel after the other."""
    layer = Interventions(question, options.layer)
    _ = question.pixels  # an empty region is told before the work
    yield question.step("forward pass")
    channels, ones = layer.channels, (1,) * len(question.grid)
    fill = layer.means()[0] if options.replacement == "mean" else torch.zeros(channels)
    fill = fill.to(question.device)
    score = question.score(question.logits)
    lost = torch.zeros(channels, device=question.device)

    def without(replay: Replay) -> Change:
        def change(start: int, n: int) -> Tensor:
            batch = replay.activation.repeat(n, 1, *ones)
            each = torch.arange(n)
            batch[each, start + each] = fill[start : start + n].view(n, *ones).to(batch)
            return batch

        return change

    def consume(start: int, logits: Tensor) -> None:
        lost[start : start + len(logits)] = score - question.score(logits)

    def weighted(activation: Tensor) -> Tensor:
        shares = lost / score.abs().clamp(min=EPSILON)
        return weighted_sum(activation, torch.where(shares.abs() > ROUNDING, shares, 0))

    def finding(map: Tensor) -> Finding:
        return Finding(map, numbers={"channels": channels, "replayed_from_the_layer": layer.exact})

    own = layer.activation
    partial = None if own is None else lambda: finding(weighted(own))
    yield from layer.run(channels, without, consume, note="channel", partial=partial, where=question.read_at)
    return (yield from layer.map(weighted, finding))
