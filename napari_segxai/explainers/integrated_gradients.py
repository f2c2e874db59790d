"""Integrated gradients: the change of the score from a baseline to the image, shared out among the pixels.

    S(u) = sum over channels (x_c(u) - x'_c(u)) * integral_0^1 dy(x' + t (x - x')) / dx_c(u) dt

with y = score of the label over M, x' = baseline. Sundararajan, Taly, Yan, ICML 2017; for the segmentation of lungs
Habib 2021. M stays that of the image's own prediction all along the path. The integral is a sum
over `steps` points: the middles of equal intervals ("midpoint"; networks of ReLUs have jumps in their gradients, which
it takes calmly) or Gauss-Legendre nodes ("gauss-legendre"; better where the network is smooth). Cost: steps + 2
forward, steps backward.

The map adds up to y(x) - y(x') (completeness). How far the sum is off is in the numbers; a residual of more than a few
per cent says that the steps were too few, not that the network is odd. Trust it as an account against *this* baseline:
a pixel that equals the baseline gets nothing, another baseline gives another map, and the path leads through images
that the network has never seen, where its gradients can be noise (guided-integrated-gradients avoids some of it). With
"inpaint" only M differs from the image, so nothing outside M gets a share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from napari_segxai.engine.baselines import HELP, Baseline
from napari_segxai.engine.gradients import input_gradients
from napari_segxai.engine.passes import Passes, Steps
from napari_segxai.engine.question import Finding, Question
from napari_segxai.explainers.registry import explainer
from napari_segxai.options import option

LARGEST_RESIDUAL = 0.05
"""Share of the score's change that the map may miss without a warning."""


@dataclass(frozen=True)
class Options:
    """Parameters of integrated-gradients."""

    steps: int = option(32, ge=1, help="points on the path; the residual says whether they are enough")
    rule: Literal["midpoint", "gauss-legendre"] = option(
        "midpoint", help="where the points lie and what they weigh", advanced=True
    )
    baseline: Baseline = option("zero", help=f"where the path begins: {HELP}")


@explainer(
    "integrated-gradients",
    title="Integrated gradients",
    family="input space",
    needs=("gradients",),
    summary="how much every pixel adds to the score on the way from a baseline to the image",
    source="Sundararajan et al., ICML 2017",
    options=Options,
    passes=lambda options, size: Passes(options.steps + 2, options.steps),
)
def integrated_gradients(question: Question, options: Options) -> Steps[Finding]:
    """Add up gradients on the straight line from the baseline to the image."""
    baseline = question.baseline(options.baseline)
    way = question.input - baseline
    places, weights = (torch.from_numpy(v).to(way) for v in quadrature(options.steps, options.rule))
    numbers = completeness(question, baseline.expand_as(way))
    total = torch.zeros_like(way)
    done = 0

    def points(start: int, n: int) -> Tensor:
        return baseline + places[start : start + n].view(-1, *(1,) * (way.ndim - 1)) * way

    def consume(start: int, gradients: Tensor, _scores: Tensor) -> None:
        nonlocal done
        total.add_(torch.tensordot(weights[start : start + len(gradients)], gradients, dims=1))
        done = start + len(gradients)

    def finding() -> Finding:
        map = (way * total).sum(1)[0]
        return Finding(map, numbers={"steps": done, **numbers(map)})

    yield from input_gradients(
        question, options.steps, points, consume, note="point on the path", partial=finding
    )
    warn_of_residual(question, finding().numbers)
    return finding()


def quadrature(steps: int, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Return points in (0, 1) and their weights, which add up to 1: two arrays (steps,)."""
    if rule == "gauss-legendre":
        points, weights = np.polynomial.legendre.leggauss(steps)
        return (points + 1) / 2, weights / 2
    return (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)


def completeness(question: Question, baseline: Tensor) -> Callable[[Tensor], dict[str, Any]]:
    """Return what compares a map's sum with the change of the score; one forward pass, on the baseline.

    The residual is the sum minus the change; its share of the change is None where the score does not change.
    """
    own = float(question.score(question.logits))
    with torch.inference_mode():
        start = float(question.score(question.forward(baseline)))
    change = own - start

    def numbers(map: Tensor) -> dict[str, Any]:
        total = float(map.double().sum())
        residual = total - change
        return {
            "score": own,
            "score_baseline": start,
            "sum": total,
            "residual": residual,
            "residual_share": residual / abs(change) if change else None,
        }

    return numbers


def warn_of_residual(question: Question, numbers: dict[str, Any]) -> None:
    """Say when a map does not add up."""
    share = numbers["residual_share"]
    if share is not None and abs(share) > LARGEST_RESIDUAL:
        question.warnings.append(
            f"the map adds up to {numbers['sum']:.4g}, but the score changes by "
            f"{numbers['score'] - numbers['score_baseline']:.4g} from the baseline to the image: take more steps."
        )
