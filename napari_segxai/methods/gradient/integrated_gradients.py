"""Integrated gradients: the change of the score from a baseline to the image, shared out among the pixels.

    S(u) = sum over channels (x_c(u) - x'_c(u)) * integral_0^1 dy(x' + t (x - x')) / dx_c(u) dt

with y = score of the label over M, x' = baseline. Sundararajan, Taly, Yan, ICML 2017; for the segmentation of lungs
Habib 2021. M stays that of the image's own prediction all along the path. The integral is a sum over `steps` points:
the middles of intervals that were halved where the score changes most ("adaptive": many networks decide within the
first hundredths of the way from a black image, and equal steps leap over that), the middles of equal intervals
("midpoint"), or Gauss-Legendre nodes ("gauss-legendre", for smooth networks). Cost: 2 steps + 1 forward ("adaptive")
or steps + 2 forward, steps backward.

The map adds up to y(x) - y(x') (completeness). How far the sum is off is in the numbers; a residual of more than a
few per cent says that the steps were too few, not that the network is odd. Trust it as an account against *this*
baseline: a pixel that equals the baseline gets nothing, another baseline gives another map, and the path leads
through images that the network has never seen, where its gradients can be noise (guided-integrated-gradients avoids
some of it). Networks that normalise every image (instance normalisation) undo its contrast, and answer as for the
whole image a hair's breadth from a constant baseline: if the residual stays, take "background" or "blur". With
"inpaint" only M differs from the image, so nothing outside M gets a share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import HELP, Baseline
from napari_segxai.engine.primitives.input_gradients import input_gradients
from napari_segxai.engine.primitives.path_integral import (
    adaptive_nodes,
    completeness_of,
    midpoints,
    on_the_line,
    quadrature,
    warn_of_residual,
)
from napari_segxai.engine.question import Question
from napari_segxai.methods.registry import explainer


@dataclass(frozen=True)
class Options:
    """Parameters of integrated-gradients."""

    steps: int = option(32, ge=1, help="points on the path; the residual says whether they are enough")
    rule: Literal["adaptive", "midpoint", "gauss-legendre"] = option(
        "adaptive", help="points where the score changes most, in equal intervals, or at Gauss-Legendre nodes"
    )
    baseline: Baseline = option("zero", help=f"where the path begins: {HELP}")


@explainer(
    "integrated-gradients",
    title="Integrated gradients",
    question="evidence",
    needs=("gradients",),
    summary="how much every pixel adds to the score on the way from a baseline to the image",
    unit="part of the {score}",
    source="Sundararajan et al., ICML 2017",
    cites=("sundararajan2017",),
    options=Options,
    passes=lambda options, size: Passes(
        options.steps + (options.steps + 1 if options.rule == "adaptive" else 2), options.steps
    ),
)
def integrated_gradients(question: Question, options: Options) -> Steps[Finding]:
    """Add up gradients on the straight line from the baseline to the image."""
    x, baseline = question.input, question.baseline(options.baseline).expand_as(question.input)
    account = completeness_of(question, baseline)
    if options.rule == "adaptive":
        points = midpoints((yield from adaptive_nodes(question, baseline, account, options.steps)))
    else:
        points = quadrature(options.steps, options.rule)
    places, weights = (torch.tensor(values, dtype=x.dtype, device=x.device) for values in points)
    total = torch.zeros_like(x)
    done = 0

    def consume(start: int, gradients: Tensor, _scores: Tensor) -> None:
        nonlocal done
        total.add_(torch.tensordot(weights[start : start + len(gradients)], gradients, dims=1))
        done = start + len(gradients)

    def finding() -> Finding:
        map = ((x - baseline) * total).sum(1)[0]
        return Finding(map, numbers={"steps": done, **account.numbers(map)})

    yield from input_gradients(
        question,
        options.steps,
        lambda start, n: on_the_line(baseline, x, places[start : start + n]),
        consume,
        note="point on the path",
        partial=finding,
    )
    warn_of_residual(question, finding().numbers)
    return finding()
