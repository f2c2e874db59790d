"""Guided integrated gradients: the change of the score, shared out along a path that avoids steep places.

    S = sum over steps of dy(z) / dz * (z_next - z),   z from the baseline x' to the image x

with y = score of the label over M (that of the image's own prediction). At every step those values of the image that
matter least just now (the `fraction` with the smallest |dy / dz|) go towards their end, one group after the other,
until the path has come the step's share of the way (sum of absolute differences). Kapishnikov, Venugopalan, Avci,
Wedin, Terry, Bolukbasi, CVPR 2021, algorithm 1; with `segments` > 1 the path is pinned to the straight line at the ends
of equal segments (their anchor points), which are walked side by side. Written from the paper. In segmentation it is
the base of the explanations of brain tumours by Zeineldin et al. 2022. Cost: steps + 2 forward, steps backward.

Like integrated-gradients it adds up to y(x) - y(x'), with less noise where saturated pixels would be crossed; the numbers
say how far the sum is off. Each step takes the gradient at its beginning, so it needs more steps than
integrated-gradients for the same residual; below a few dozen steps believe the place, not the amounts. The path
depends on the network, so that two networks that compute the same function in different ways still get the same
map, but small differences (another device, another batch) can send it another way. `fraction` 1 is the straight line.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_segxai.engine.baselines import HELP, Baseline
from napari_segxai.engine.gradients import input_gradients
from napari_segxai.engine.passes import Passes, Steps
from napari_segxai.engine.question import Finding, Question
from napari_segxai.explainers.integrated_gradients import completeness, warn_of_residual
from napari_segxai.explainers.registry import Size, explainer
from napari_segxai.options import option


@dataclass(frozen=True)
class Options:
    """Parameters of guided-integrated-gradients."""

    steps: int = option(
        64, ge=1, help="gradients along the whole path; the residual says whether they are enough"
    )
    fraction: float = option(
        0.1, gt=0, le=1, help="share of the image's values that move first: those that matter least"
    )
    segments: int = option(
        1,
        ge=1,
        help="pieces between points on the straight line; more keep the path closer to it",
        advanced=True,
    )
    baseline: Baseline = option("zero", help=f"where the path begins: {HELP}")


def _steps(options: Options) -> int:
    """Steps per segment."""
    return math.ceil(options.steps / options.segments)


def _passes(options: Options, size: Size) -> Passes:
    gradients = _steps(options) * options.segments
    return Passes(gradients + 2, gradients)


@explainer(
    "guided-integrated-gradients",
    title="Guided integrated gradients",
    family="input space",
    needs=("gradients",),
    summary="how much every pixel adds to the score on a path through what matters least first",
    source="Kapishnikov et al., CVPR 2021",
    options=Options,
    passes=_passes,
)
def guided_integrated_gradients(question: Question, options: Options) -> Steps[Finding]:
    """Walk from the baseline to the image, unimportant values first, and add up what the score gains."""
    x = question.input
    baseline = question.baseline(options.baseline).expand_as(x)
    numbers = completeness(question, baseline)
    anchors = [torch.lerp(baseline, x, k / options.segments) for k in range(options.segments)]
    places = torch.cat(anchors)
    anchors.append(x)
    lengths = [float((b - a).abs().sum()) for a, b in itertools.pairwise(anchors)]
    total = torch.zeros_like(x)
    steps = _steps(options)

    def finding() -> Finding:
        map = total.sum(1)[0]
        return Finding(map, numbers={"steps": steps * options.segments, **numbers(map)})

    for step in range(steps):

        def consume(start: int, gradients: Tensor, _scores: Tensor, step: int = step) -> None:
            for k, gradient in enumerate(gradients, start):
                left = lengths[k] * (1 - (step + 1) / steps)
                moved = advance(places[k], anchors[k + 1][0], gradient, left, options.fraction)
                total[0].add_((moved - places[k]) * gradient)
                places[k] = moved

        yield from input_gradients(
            question,
            options.segments,
            lambda start, n: places[start : start + n],
            consume,
            note=f"step {step + 1} of {steps}, segment",
            partial=finding,
        )
    warn_of_residual(question, finding().numbers)
    return finding()


def advance(place: Tensor, end: Tensor, gradient: Tensor, left: float, fraction: float) -> Tensor:
    """Return the next point of the path: values with small gradients moved to their end, until `left` is left.

    Parameters
    ----------
    place, end, gradient
        Of one shape.
    left
        Sum of absolute differences from the end that shall remain; 0 ends the path.
    fraction
        Share of the values that move together.
    """
    slopes = torch.nan_to_num(gradient.abs(), nan=torch.inf)
    count = math.ceil(fraction * slopes.numel())
    while True:
        away = (end - place).abs()
        todo = float(away.sum()) - left
        if todo <= 0:
            return place
        ranked = torch.where(away > 0, slopes, torch.inf)  # what has arrived stays
        chosen = ranked <= ranked.flatten().kthvalue(count).values
        reach = float(away[chosen].sum())
        if left == 0 or reach <= todo:
            place = torch.where(chosen, end, place)
        else:
            return torch.where(chosen, torch.lerp(place, end, todo / reach), place)
