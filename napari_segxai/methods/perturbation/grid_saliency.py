"""Grid saliency: the least of the surroundings that the network needs to see an object as it does.

    min over M of  lambda sum M + |R max(f(x) - f(phi(x, M)), 0)|_1 / |R|_1,   phi = x M + b (1 - M)

Hoyer et al., NeurIPS 2019. M is a coarse grid of values in [0, 1], enlarged linearly; R is the object that is asked
about. Context mode: R itself is never hidden, so that what M keeps is context. Object mode: everything may be
hidden. Gradient descent with momentum; after each step values below 0.2 become 0 and those above 1 become 1. f is
the probability of the label. Where the loss ends higher than it began, the first mask stands. In object mode the
mask begins with everything shown, since a half-hidden object is often none and gives no gradient to go by. The
numbers tell which share of the kept context lies on which predicted label (on each of those that overlap). Cost: iterations x (forward + backward) +
2 forward passes.

What hides the pixels decides what seems to be needed: grey looks like road. "unbiased" (our own variant, not the
paper's) runs four baselines and averages their masks; the paper takes the one whose first loss is lowest. The object
is taken as it is, without the erosion by 3 x 3 of the authors' code, and `lr` is multiplied by the number of cells,
so that it means the same for every mask. The coarse grid is the only smoothing: there is no penalty on edges. A kept
cell may be needed for what lies next to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import HELP, Baseline
from napari_segxai.engine.masking.enlargement import LinearEnlargement
from napari_segxai.engine.primitives.optimize import optimize
from napari_segxai.engine.primitives.optimizers import Momentum
from napari_segxai.engine.question import Question
from napari_segxai.methods.registry import Size, explainer

FOUR: tuple[Baseline, ...] = ("zero", "minimum", "mean", "blur")
"""Baselines of the unbiased variant."""

GONE = 0.2
"""Mask values below this are set to 0 (Hoyer et al.)."""


@dataclass(frozen=True)
class Options:
    """Parameters of grid-saliency."""

    mode: Literal["context", "object"] = option(
        "context", help="context: the object is never hidden; object: everything may be"
    )
    cells: int | None = option(
        None, ge=1, unit="on the longest side", help="cells of the mask; by default 16, in 3D 8"
    )
    iterations: int = option(100, ge=1, help="steps of gradient descent")
    start: float | None = option(
        None, gt=0, le=1, help="value the mask begins with; by default 0.5, in object mode 1", advanced=True
    )
    lam: float = option(0.5, ge=0, help="price of keeping the whole image (a share of it costs that share)")
    lr: float = option(0.2, gt=0, help="step of the gradient descent, per cell", advanced=True)
    momentum: float = option(0.5, ge=0, le=1, help="momentum of the gradient descent", advanced=True)
    unbiased: bool = option(False, help="average the masks of four baselines instead of one")
    baseline: Baseline = option("mean", help=HELP, advanced=True)


def _passes(options: Options, size: Size) -> Passes:
    size.check("grid-saliency", "cells", options.cells, max(size.grid))
    times = len(FOUR) if options.unbiased else 1
    return Passes(1 + times * (options.iterations + 1), times * options.iterations)


@explainer(
    "grid-saliency",
    title="Grid saliency",
    question="need",
    needs=("gradients",),
    summary="the least of an object's surroundings that the network needs to see the object as it does",
    unit="share of the pixel that is kept",
    source="Hoyer et al., NeurIPS 2019",
    cites=("hoyer2019",),
    options=Options,
    passes=_passes,
)
def grid_saliency(question: Question, options: Options) -> Steps[Finding]:
    """Optimise a coarse mask, for one baseline or for four."""
    request = question.weights
    found: list[Tensor] = []
    losses: list[list[float]] = []
    kept = False
    rest = "the surroundings of the region" if options.mode == "context" else "the image"

    def finding(masks: Sequence[Tensor]) -> Finding:
        mask = torch.stack(list(masks)).mean(0)
        context = mask * (1 - request)
        if options.mode == "context":
            mask = context  # the object was never asked about
        numbers = shares(context, question)
        return Finding(
            mask,
            masks={"kept": mask > GONE},
            numbers={"kept": float(mask.mean()), **numbers},
            why_zero=f"keeping {rest} costs more than what the label's probability loses without it; lower lam.",
        )

    for baseline in FOUR if options.unbiased else (options.baseline,):
        mask, loss, improved = yield from _one(
            question, options, baseline, request, lambda now: finding([*found, now])
        )
        found.append(mask)
        losses.append(loss)
        kept = kept or not improved
    curves = {"loss": {"iteration": list(range(1, options.iterations + 1)), **_named(losses)}}
    warnings = ["gradient descent did not lower the loss; the mask is the one it began with."] if kept else []
    return replace(finding(found), curves=curves, warnings=warnings)


def _named(losses: Sequence[list[float]]) -> dict[str, list[float]]:
    names = FOUR if len(losses) > 1 else ("loss",)
    return {str(name): values for name, values in zip(names, losses, strict=True)}


def _one(
    question: Question,
    options: Options,
    baseline: Baseline,
    request: Tensor,
    finding: Callable[[Tensor], Finding],
) -> Steps[tuple[Tensor, list[float], bool]]:
    """Optimise the mask for one baseline: the mask on the grid, the loss over time, whether it fell."""
    hide = question.hide(baseline)
    longest = options.cells or (16 if len(question.grid) == 2 else 8)
    shape = [max(1, round(n * min(1, longest / max(question.grid)))) for n in question.grid]
    start = options.start or (0.5 if options.mode == "context" else 1.0)
    coarse = torch.full((1, 1, *shape), start, device=question.device)
    wanted = question.model.probability(question.logits, question.label).clone()
    share, rest = request.flatten() / request.sum(), 1 - request
    spread = LinearEnlargement(shape, question.grid, question.device)

    def masked_input(values: Tensor) -> Tensor:
        mask = spread(values)  # what is asked about is always shown
        return hide(torch.addcmul(request, mask, rest) if options.mode == "context" else mask)

    def loss(values: Tensor, logits: Tensor) -> Tensor:
        lost = (wanted - question.model.probability(logits, question.label)).clamp(min=0)
        return options.lam * values.mean() + torch.dot(lost.flatten(), share)

    def after(values: Tensor) -> None:
        values.clamp_(max=1).masked_fill_(values < GONE, 0)

    def so_far() -> Finding:
        return finding(spread(coarse.detach())[0, 0])

    # The price of a cell falls with their number, and so would its steps: `lr` is for one cell.
    rate = options.lr * coarse.numel()
    losses = yield from optimize(
        question,
        coarse,
        masked_input,
        loss,
        iterations=options.iterations,
        descent=partial(Momentum, lr=rate, momentum=options.momentum),
        after=after,
        note=f"{baseline}, iteration" if options.unbiased else "iteration",
        partial=so_far,
    )
    with torch.no_grad():
        last = float(loss(coarse, question.forward(masked_input(coarse))))
    yield question.step("checked", so_far)
    values = losses.tolist()
    improved = last <= values[0]
    if not improved:
        coarse.fill_(start)
    return spread(coarse)[0, 0], values, improved


def shares(mask: Tensor, question: Question) -> dict[str, float]:
    """Return which share of a mask lies on which predicted label; empty where the mask is.

    What lies on several labels at once counts for each of them.
    """
    total, labels, labeling = float(mask.sum()), question.model.labels, question.model.labeling
    if total <= 0:
        return {}
    weights = mask.flatten().double()
    if labeling.overlapping:
        drawn = (labeling.drawn(question.logits, k)[0].flatten() for k in range(len(labels)))
        sums = [float(weights[each].sum()) for each in drawn]
    else:
        [predicted] = labeling.label_images(question.logits[0])
        sums = torch.bincount(predicted.flatten(), weights, minlength=len(labels)).tolist()
    return {
        f"context_on_{name}": value / total for name, value in zip(labels, sums, strict=True) if value > 0
    }
