"""The path from a baseline to the image: where to take points, and whether a map adds up to the change of the score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.progress import Steps
from napari_segxai.engine.primitives.perturb import stream
from napari_segxai.engine.question import Question

LARGEST_RESIDUAL = 0.05
"""Share of the score's change that a map may miss without a warning."""

FIRST = 4
"""Equal intervals that the halving begins with."""

LENGTH = 1e-3
"""What the length of an interval counts beside the change of the score over it, so that nothing is left out."""


def on_the_line(baseline: Tensor, image: Tensor, places: Tensor) -> Tensor:
    """Return the images at these places (n,) between 0, the baseline, and 1: (n, channels, *grid)."""
    return torch.lerp(baseline, image, places.view(-1, *(1,) * (image.ndim - 1)))


def quadrature(steps: int, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Return points in (0, 1) and their weights, which add up to 1: two arrays (steps,)."""
    if rule == "gauss-legendre":
        points, weights = np.polynomial.legendre.leggauss(steps)
        return (points + 1) / 2, weights / 2
    return midpoints(np.linspace(0, 1, steps + 1))


def midpoints(ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the middles of intervals and their lengths: two arrays (steps,) from (steps + 1,)."""
    return (ends[1:] + ends[:-1]) / 2, np.diff(ends)


@dataclass(frozen=True)
class Completeness:
    """What a map has to add up to.

    Attributes
    ----------
    start, end
        Score of the baseline and of the image.
    """

    start: float
    end: float

    def numbers(self, map: Tensor) -> dict[str, Any]:
        """Return the scores, the map's sum and the residual: the sum minus the change of the score.

        The residual's share of the change is None where the score does not change.
        """
        change, total = self.end - self.start, float(map.cpu().sum(dtype=torch.float64))
        return {
            "score": self.end,
            "score_baseline": self.start,
            "sum": total,
            "residual": total - change,
            "residual_share": (total - change) / abs(change) if change else None,
        }


def completeness_of(question: Question, baseline: Tensor) -> Completeness:
    """Ask for the score of the image and of the baseline, which has the input's shape: 2 forward passes."""
    own = float(question.score(question.logits))
    with torch.inference_mode():
        return Completeness(float(question.score(question.look(baseline))), own)


def warn_of_residual(question: Question, numbers: Mapping[str, Any]) -> None:
    """Say when a map does not add up."""
    share = numbers["residual_share"]
    if share is not None and abs(share) > LARGEST_RESIDUAL:
        question.warnings.append(
            f"the map adds up to {numbers['sum']:.4g}, but the score changes by "
            f"{numbers['score'] - numbers['score_baseline']:.4g} from the baseline to the image: take more "
            "steps, or another baseline (background, blur)."
        )


def adaptive_nodes(
    question: Question, baseline: Tensor, account: Completeness, steps: int
) -> Steps[np.ndarray]:
    """Cut the way from the baseline to the image where the score changes: (steps + 1,), from 0 to 1.

    From a few equal intervals on, those over which the score changes most are halved, a quarter of them at a time (in
    the spirit of Bhat and Raychowdhury, ISCAS 2023). Cost: steps - 1 forward.
    """
    places = np.linspace(0, 1, min(steps, FIRST) + 1)
    scores = np.full(len(places), np.nan)
    scores[[0, -1]] = account.start, account.end
    new = np.arange(1, len(places) - 1)
    while True:
        at = torch.tensor(places[new], dtype=question.input.dtype, device=question.device)
        found: list[Tensor] = []

        def run(start: int, n: int, at: Tensor = at) -> Tensor:
            return question.score(question.look(on_the_line(baseline, question.input, at[start : start + n])))

        def consume(_start: int, values: Tensor, found: list[Tensor] = found) -> None:
            found.append(values)

        yield from stream(question, len(new), run, consume, note="placing point")
        if found:
            scores[new] = torch.cat(found).cpu().numpy()
        if len(places) > steps:
            return places
        change = np.abs(np.diff(np.nan_to_num(scores)))
        share = change / change.sum() if change.any() else np.zeros_like(change)
        # Rounded, so that the last bits, which depend on the batch, do not decide.
        rank = np.round(share + LENGTH * np.diff(places), 6)
        chosen = np.argsort(-rank, kind="stable")[: min(max(1, len(rank) // 4), steps - len(rank))]
        before = np.sort(chosen) + 1
        places = np.insert(places, before, (places[before - 1] + places[before]) / 2)
        scores = np.insert(scores, before, np.nan)
        new = before + np.arange(len(before))
