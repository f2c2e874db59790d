"""Extremal perturbation: of all masks of a given area, the smooth one that keeps the most of the target.

    m_a = argmax over m of  f(hide(x, m)) - penalty |sort(m) - r_a|^2,   r_a: ones on the share a, else zeros

After Fong, Patrick, Vedaldi, ICCV 2019, derived here for segmentation: f is the mean margin over M (the label's
logit minus the largest other one, or 2 (s - logit t) of a sigmoid output s with the threshold t: it does not saturate),
scaled so that hiding nothing gives 1 and hiding all 0.
The area is not traded against the score, as in grid-saliency or misure, but given: the sorted mask is drawn towards
the step function of that area. Masks are coarse and enlarged through a Gaussian, so that every mask is smooth;
pixels are blurred where it hides them, by default. The map counts in how many
of their masks a pixel is, and the smallest area whose mask keeps the given share of the score is the mask that is
returned. Cost: areas x (iterations x (forward + backward) + 1 forward) + 2 passes.

No price has to be tuned, and masks of different methods can be compared at equal area. Each area is its own run, so
that a larger mask need not hold the smaller one; the sum is a map of how soon a pixel is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.execution.batched_optimization import StepBatcher, side_by_side
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import HELP, Baseline, Hide
from napari_segxai.engine.primitives.optimize import optimize
from napari_segxai.engine.primitives.optimizers import AdamW
from napari_segxai.engine.primitives.regularizers import sorted_distance
from napari_segxai.engine.question import Question
from napari_segxai.engine.scores import reduce_scores
from napari_segxai.methods.registry import Size, explainer

GROWTH = 30
"""Times as heavy as at first is the area constraint at the end: evidence before shape."""


@dataclass(frozen=True)
class Options:
    """Parameters of extremal-perturbation."""

    areas: str = option(
        "0.05, 0.1, 0.2, 0.4", help="shares of the image that a mask may keep, from small to large"
    )
    keep: float = option(0.9, gt=0, le=1, help="share of the score that a sufficient mask keeps")
    mode: Literal["preserve", "delete"] = option(
        "preserve", help="keep what preserves the target, or hide what destroys it"
    )
    iterations: int = option(60, ge=1, help="steps of gradient descent per area")
    cells: int | None = option(
        None,
        ge=2,
        unit="on the longest side",
        help="cells of the mask; by default 28, in 3D 14",
        advanced=True,
    )
    penalty: float = option(
        0.5, ge=0, help="weight of the area constraint at first; 30 times that at the end", advanced=True
    )
    lr: float = option(0.1, gt=0, help="learning rate of AdamW", advanced=True)
    baseline: Baseline = option("blur", help=HELP, advanced=True)


def areas_of(options: Options) -> list[float]:
    """Return the areas, ascending.

    Raises
    ------
    UserError
        If they are not shares of the image.
    """
    try:
        areas = sorted(float(part) for part in options.areas.replace(",", " ").split())
    except ValueError:
        areas = []
    if not areas or areas[0] <= 0 or areas[-1] >= 1:
        raise UserError(
            f"extremal-perturbation: areas {options.areas!r} have to be numbers between 0 and 1, such as 0.05, 0.1, 0.2."
        )
    return areas


def _passes(options: Options, size: Size) -> Passes:
    size.check("extremal-perturbation", "cells", options.cells, max(size.grid))
    return Passes(
        len(areas_of(options)) * (options.iterations + 1) + 2, len(areas_of(options)) * options.iterations
    )


@explainer(
    "extremal-perturbation",
    title="Extremal perturbation",
    question="need",
    needs=("gradients",),
    summary="the smooth mask of a given area that keeps the most of the object, for several areas",
    unit="share of the masks that hold the pixel",
    source="after Fong et al., ICCV 2019",
    cites=("fong2019",),
    options=Options,
    passes=_passes,
)
def extremal_perturbation(question: Question, options: Options) -> Steps[Finding]:
    """Optimise one mask per area, all of them side by side."""
    hide = question.hide(options.baseline)
    _ = question.weights  # an empty M ends it here
    whole = float(_mean_probability(question, question.logits))
    with torch.inference_mode():
        nothing = question.forward(hide(torch.zeros(1, 1, *question.grid, device=question.device)))
        ends = [float(_mean_margin(question, logits)) for logits in (nothing, question.logits)]
    longest = options.cells or (28 if len(question.grid) == 2 else 14)
    shape = [max(2, round(n * min(1, longest / max(question.grid)))) for n in question.grid]
    enlarge = _Smooth(shape, question.grid, question.device)
    areas, preserve = areas_of(options), options.mode == "preserve"
    coarse = [
        torch.full((1, 1, *shape), area if preserve else 1 - area, device=question.device) for area in areas
    ]

    def masks() -> list[Tensor]:
        kept = (enlarge(values.detach())[0, 0].clamp(0, 1) for values in coarse)
        return [mask if preserve else 1 - mask for mask in kept]

    def finding() -> Finding:
        return Finding(torch.stack(masks()).mean(0))

    batcher = question.batcher or StepBatcher()
    scores = yield from side_by_side(
        [
            _one_area(question, options, values, area, enlarge, hide, ends, finding, batcher)
            for values, area in zip(coarse, areas, strict=True)
        ]
    )
    found, rows = masks(), list(zip(areas, scores, strict=True))
    enough = [k for k, (_, score) in enumerate(rows) if _reached(score, whole, options)]
    chosen = enough[0] if enough else len(found) - 1
    return Finding(
        torch.stack(found).mean(0),
        maps={f"mask_{area:g}": mask for area, mask in zip(areas, found, strict=True)},
        masks={"smallest_mask": found[chosen] > 0.5},
        curves={"area": {"area": areas, "score": [score for _, score in rows]}},
        numbers={"smallest_area": areas[chosen] if enough else None, "score_of_image": whole},
        warnings=[] if enough else [f"no area up to {areas[-1]:g} is enough; the largest is shown."],
    )


def _reached(score: float, whole: float, options: Options) -> bool:
    return (
        score >= options.keep * whole if options.mode == "preserve" else score <= (1 - options.keep) * whole
    )


def _mean_probability(question: Question, logits: Tensor) -> Tensor:
    values = question.model.probability(logits, question.label)
    return reduce_scores(values, question.weights, "mean", question.count)[0]


def _mean_margin(question: Question, logits: Tensor) -> Tensor:
    return reduce_scores(question.margin(logits), question.weights, "mean", question.count)[0]


def _one_area(
    question: Question,
    options: Options,
    coarse: Tensor,
    area: float,
    enlarge: _Smooth,
    hide: Hide,
    ends: Sequence[float],
    finding: Callable[[], Finding],
    batcher: StepBatcher,
) -> Steps[float]:
    """Optimise the mask of one area, in place; return the score it keeps."""
    count = coarse.numel()
    kept = round(count * (area if options.mode == "preserve" else 1 - area))
    step = torch.zeros(count, device=question.device)
    step[count - kept :] = 1
    sign = 1 if options.mode == "preserve" else -1
    progress = 1

    def masked_input(values: Tensor) -> Tensor:
        return hide(enlarge(values))

    def loss(_: Tensor, logits: Tensor) -> Tensor:
        share = (_mean_margin(question, logits) - ends[0]) / max(abs(ends[1] - ends[0]), 1e-6)
        return -sign * share

    def price() -> tuple[Tensor, Tensor]:
        """Return what the sorted mask is away from the step function, and its gradient."""
        weight = options.penalty * GROWTH ** (progress / options.iterations)
        return sorted_distance(coarse.detach(), step, weight)

    def after(values: Tensor) -> None:
        nonlocal progress
        progress += 1
        values.clamp_(0, 1)

    yield from optimize(
        question,
        coarse,
        masked_input,
        loss,
        iterations=options.iterations,
        descent=partial(AdamW, lr=options.lr),
        after=after,
        price=price,
        note=f"area {area:g}, iteration",
        partial=finding,
        batcher=batcher,
    )
    with torch.inference_mode():
        score = float(_mean_probability(question, question.forward(masked_input(coarse))))
    yield question.step(f"area {area:g} checked", finding)
    return score


class _Smooth:
    """Enlarges a mask through a Gaussian as wide as one of its cells: one small matrix per axis."""

    def __init__(self, shape: Sequence[int], grid: Sequence[int], device: torch.device):
        self.matrices = []
        for cells, size in zip(shape, grid, strict=True):
            centers = (torch.arange(cells, device=device) + 0.5) * size / cells
            places = torch.arange(size, device=device) + 0.5
            weights = torch.exp(-0.5 * ((places[:, None] - centers[None]) * cells / size) ** 2)
            self.matrices.append((weights / weights.sum(1, keepdim=True)).T.contiguous())

    def __call__(self, values: Tensor) -> Tensor:
        """Enlarge (1, 1, *cells) to (1, 1, *grid)."""
        for matrix in self.matrices:  # the first axis goes, and comes back as the last
            values = torch.tensordot(values, matrix, dims=([2], [0]))
        return values
