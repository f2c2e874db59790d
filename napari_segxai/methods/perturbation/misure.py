"""MiSuRe: a sufficient region found by dilating the prediction, pruned to a minimally sufficient region.

Stage 1: M = the predicted object; while Dice(f(x), f(x * M)) <= tau: dilate M. The result is the sufficient
region (SR). Stage 2: starting from it, AdamW minimises

    lambda / |M| sum |M|  +  gamma TV(M)  +  1 - sum_{i in {background, label}} alpha_i softDice_i(f(x_SR * M), f(x))

and after every step values below 0.2 become 0 and values above 1 become 1. What is not 0 in the end is the
minimally sufficient region (MSR). Hasany, Meriaudeau, Petitjean, "MiSuRe is all you need to explain your image
segmentation", 2026, algorithm 1 and eq. 1. Cost: (dilations + 1) + iterations + 1 forward, iterations backward.

What the paper leaves open, and what is done here: total variation is a mean over neighbours (a sum would
dwarf the Dice term), gamma 0.01 and beta 2; weight decay 0; dilation ends at the latest with the full image
(status "full") or at `max_dilations` ("capped"), else a sufficient region is "reached"; nothing in eq. 1 holds the
pruned region above tau, so that its Dice is looked at once more (status "pruned below tau"); the size of a region is counted both on the mask and on the
masked image, where pixels equal to the baseline do not count. With a region within the label, other objects
of the label are left out of every Dice.

A learning rate of 0.001 cannot prune (a value falls by at most 0.1 in 100 steps); a high learning rate or
lambda can destroy the mask: compare Dice explained before you believe a small region.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_segxai.core.arrays import ROUNDING
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import HELP, Baseline
from napari_segxai.engine.masking.morphology import ball, dilate
from napari_segxai.engine.primitives.optimize import optimize
from napari_segxai.engine.primitives.optimizers import AdamW
from napari_segxai.engine.primitives.perturb import perturb
from napari_segxai.engine.primitives.regularizers import SizeAndVariation, sum_of_ratios
from napari_segxai.engine.question import Question
from napari_segxai.engine.scores import dice
from napari_segxai.methods.registry import Size, explainer

AHEAD = 8  # dilations that are tried in one batch; the stage chosen is the same as one by one


BELOW_TAU = "pruned below tau"
"""Status of a run that ends with a region which is not sufficient by its own tau."""


@dataclass(frozen=True)
class Options:
    """Parameters of misure."""

    tau: float = option(0.9, gt=0, le=1, help="Dice above which a region is sufficient")
    iterations: int = option(100, ge=0, help="steps of pruning; 0 stops at the sufficient region")
    lr: float = option(0.1, gt=0, help="learning rate of AdamW; 0.001 never prunes")
    lam: float = option(0.01, ge=0, help="lambda: weight of the mask's mean value; higher prunes more")
    kernel: int | None = option(
        None,
        ge=3,
        unit="cells",
        help="width of the circular dilation kernel; by default 7 at 224 cells, scaled",
    )
    max_dilations: int | None = option(
        None,
        ge=0,
        advanced=True,
        help="number of dilations after which it gives up; by default it goes on to the full image",
    )
    mask_size: int | None = option(
        None,
        ge=4,
        unit="cells",
        advanced=True,
        help="longest side of the mask; by default the grid's, half of it in 3D",
    )
    gamma: float = option(0.01, ge=0, advanced=True, help="weight of the mask's mean total variation")
    beta: float = option(2.0, ge=1, advanced=True, help="exponent of the total variation")
    alpha_label: float = option(2.0, ge=0, advanced=True, help="weight of the label's soft Dice")
    alpha_background: float = option(1.0, ge=0, advanced=True, help="weight of the background's soft Dice")
    clamp: float = option(
        0.2, ge=0, le=1, advanced=True, help="mask values below this become 0 after every step"
    )
    weight_decay: float = option(
        0.0, ge=0, advanced=True, help="weight decay of AdamW; above 0 it shrinks the mask by itself"
    )
    baseline: Baseline = option("zero", advanced=True, help=HELP)


def _kernel(options: Options, grid: tuple[int, ...]) -> int:
    """Width of the dilation kernel: odd, at least 3."""
    width = options.kernel or max(3, round(7 * min(grid) / 224))
    return width if width % 2 else width + 1


def _passes(options: Options, size: Size) -> Passes:
    grid = size.grid
    size.check("misure", "mask_size", options.mask_size, max(grid))
    size.check("misure", "kernel", options.kernel, max(grid))
    dilations = min(25, max(grid) // (_kernel(options, grid) // 2) + 1)
    if options.max_dilations is not None:
        dilations = min(dilations, options.max_dilations)
    return Passes(1 + dilations + 1 + options.iterations + 1, options.iterations)


@explainer(
    "misure",
    title="MiSuRe",
    question="need",
    needs=("gradients",),
    summary="what the network needed to see: the smallest part of the image that still gives this segmentation",
    unit="share of the pixel that is kept",
    source="Hasany, Mériaudeau, Petitjean 2026",
    cites=("hasany2026misure",),
    options=Options,
    passes=_passes,
    needs_drawn=True,
    presets={
        "paper": {  # in full, so that no later default moves it; of weights that the paper does not tell, ours
            "tau": 0.9,
            "iterations": 100,
            "lr": 0.1,
            "lam": 0.01,
            "gamma": 0.01,
            "beta": 2.0,
            "alpha_label": 2.0,
            "alpha_background": 1.0,
            "clamp": 0.2,
            "weight_decay": 0.0,
        },
        "fast look": {"iterations": 40},
        "sufficient region only": {"iterations": 0},
    },
)
def misure(question: Question, options: Options) -> Steps[Finding]:
    """Dilate until sufficient, then prune by gradient descent."""
    seen = _Object(question)
    hide = question.hide(options.baseline)
    region = _Dilation(seen.pixels, _kernel(options, question.grid))
    history: list[float] = []
    status: Literal["reached", "full", "capped"] = "capped"

    def judge(start: int, masks: Tensor, logits: Tensor) -> bool:
        nonlocal status
        agreement = seen.dice(logits).tolist()
        full = masks.flatten(1).amin(1).gt(0).tolist()
        for value, whole in zip(agreement, full, strict=True):
            history.append(value)
            if value > options.tau or whole:
                status = "full" if whole else "reached"
                return True
        return False

    limit = region.steps_to_full if options.max_dilations is None else options.max_dilations
    yield from perturb(
        question,
        limit + 1,
        region.masks,
        judge,
        hide=hide,
        note="stage 1, dilation",
        partial=lambda: _stage_one(question, region, history, "stopped"),
        largest=AHEAD,
        open_ended=True,
    )
    found = _stage_one(question, region, history, status)
    if options.iterations == 0:
        return found

    sufficient = found.masks["sufficient_region"]
    hide_more = question.hide(options.baseline, hide(sufficient.float()[None, None]))
    nothing = hide(torch.zeros_like(sufficient, dtype=torch.float32)[None, None])
    mask = _initial_mask(sufficient, options.mask_size)

    enlarge = _Enlarge(mask, question.grid)

    def spread(values: Tensor) -> Tensor:
        return values if values.shape[2:] == sufficient.shape else enlarge(values)

    alphas = torch.tensor([options.alpha_label, options.alpha_background], device=question.device)

    def loss(_: Tensor, logits: Tensor) -> Tensor:
        return 1 - seen.soft_dice(logits, alphas)

    below = math.nextafter(options.clamp, -1)  # what equals the clamp stays

    def after(values: Tensor) -> None:
        F.threshold(values.clamp_(max=1), below, 0.0, inplace=True)

    def pruned() -> Finding:
        return _with_minimal_region(question, seen, found, spread(mask.detach())[0, 0], nothing)

    losses = yield from optimize(
        question,
        mask,
        lambda values: hide_more(spread(values)),
        loss,
        iterations=options.iterations,
        descent=partial(AdamW, lr=options.lr, weight_decay=options.weight_decay),
        after=after,
        price=SizeAndVariation(mask, options.lam, options.gamma, options.beta),
        note="stage 2, pruning",
        partial=pruned,
    )
    result = pruned()
    with torch.inference_mode():
        explained = float(seen.dice(question.forward(hide_more(result.map[None, None]))))
    yield question.step("checked")
    result.numbers["dice_explained"] = explained
    if explained < options.tau:
        result.numbers["status"] = BELOW_TAU
    result.curves["pruning"] = {"iteration": list(range(1, options.iterations + 1)), "loss": losses.tolist()}
    if options.iterations * options.lr < 1 - options.clamp:
        result.warnings.append(
            f"nothing could be pruned: a mask value falls by about lr in a step, so that it takes "
            f"{math.ceil((1 - options.clamp) / options.lr)} iterations or more to remove a pixel."
        )
    if not bool(result.masks["minimally_sufficient_region"].any()):
        result.warnings.append("pruning removed the whole mask; lower lr or lam.")
    elif explained < options.tau:
        result.warnings.append(
            f"the minimal region explains a Dice of {explained:.3f} only, below tau {options.tau:g}, so that it is not "
            "sufficient; lower lr or lam, or trust the sufficient region."
        )
    return result


class _Object:
    """The predicted object: what a masked image has to bring back."""

    def __init__(self, question: Question):
        self.question = question
        self.pixels = question.drawn_object()
        others = question.predicted & ~self.pixels
        self.within = ~others if bool(others.any()) else None
        model, label = question.model, question.label
        # With a background of its own that is not the label, eq. 1 asks for its Dice; else for that of "not the label".
        self.complement = model.card.activation == "sigmoid" or label == 0 or len(model.labels) == 2
        inside = torch.ones_like(self.pixels) if self.within is None else self.within
        own = model.probability(question.logits, label)[0]
        background = 1 - own if self.complement else model.probability(question.logits, 0)[0]
        own, background, inside = (
            values.flatten() for values in (own * inside, background * inside, inside.float())
        )
        # The two soft Dice of eq. 1 (epsilon is 1), as ratios of what follows from few sums over the label's
        # probability p; where the background has a probability of its own, over both, one after the other.
        if self.complement:
            self.rows = torch.stack([own, inside])
            # background * (1 - p) = background - (inside - own) * p
            parts = [[2, 2, 0, 0], [0, -2, 1, -1]]
            offsets = [own.new_zeros(()), 2 * background.sum(), own.sum(), background.sum() + inside.sum()]
        else:
            none = torch.zeros_like(own)
            pairs = [(own, none), (none, background), (inside, none), (none, inside)]
            self.rows = torch.stack([torch.cat(pair) for pair in pairs])
            parts = [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
            offsets = [own.new_zeros(()), own.new_zeros(()), own.sum(), background.sum()]
        self.parts, self.offsets = own.new_tensor(parts), torch.stack(offsets) + 1

    def dice(self, logits: Tensor) -> Tensor:
        """Dice of the hard prediction with the object: (N,)."""
        return dice(self.question.drawn(logits), self.pixels, self.within)

    def soft_dice(self, logits: Tensor, alphas: Tensor) -> Tensor:
        """Soft Dice of label and background, weighted by `alphas` (2,) and summed (eq. 1, third term)."""
        labels = [self.question.label] if self.complement else [self.question.label, 0]
        seen = [self.question.model.probability(logits, label).flatten(1) for label in labels]
        values = seen[0] if len(seen) == 1 else torch.cat(seen, 1)
        return sum_of_ratios(values, self.rows, self.parts, self.offsets, alphas)


class _Dilation:
    """The growing mask; `stages` tells at which step a pixel came in (1: the object itself)."""

    def __init__(self, pixels: Tensor, width: int):
        self.kernel = ball(width // 2, pixels.ndim).to(pixels.device)
        self.radius = width // 2
        self.stages = pixels.to(torch.int32)
        self.steps = 0
        self.steps_to_full = sum(pixels.shape) // self.radius + 1

    def masks(self, start: int, n: int) -> Tensor:
        """Return the masks after `start`, `start + 1`, ... dilations: (n, 1, *grid), float."""
        while self.steps < start + n - 1:
            self.steps += 1
            new = dilate(self.stages > 0, self.kernel) & (self.stages == 0)
            self.stages[new] = self.steps + 1
        return torch.stack([self.mask(k) for k in range(start, start + n)])[:, None].float()

    def mask(self, dilations: int) -> Tensor:
        """Return the mask after so many dilations: boolean (*grid)."""
        return (self.stages > 0) & (self.stages <= dilations + 1)


def _stage_one(question: Question, region: _Dilation, history: list[float], status: str) -> Finding:
    dilations = max(0, len(history) - 1)
    mask = region.mask(dilations)
    stages = torch.where(mask, region.stages, 0)
    # One transfer for all stages; pixels of stage k and before are in the mask.
    counts = torch.bincount(stages.flatten(), minlength=dilations + 2)[1:].cumsum(0).tolist()
    table = [
        {
            "stage": k + 1,
            "dilations": k,
            "radius": k * region.radius,
            "dice": value,
            "cells": counts[k],
            question.size_name: counts[k] * question.cell_volume,
        }
        for k, value in enumerate(history)
    ]
    size = counts[0]
    agreement = history[-1] if history else float("nan")
    return Finding(
        map=mask.float(),
        masks={"sufficient_region": mask},
        stages=stages,
        stage_table=table,
        curves={"dilation": {"dilations": list(range(len(history))), "dice": list(history)}},
        numbers={
            "status": status,
            "n_dilations": dilations,
            "kernel": 2 * region.radius + 1,
            "dice_sufficient": agreement,
            "dice_explained": agreement,
            "ratio_sufficient": counts[-1] / size,
            "object_cells": size,
        },
        warnings=(
            [f"no region up to {dilations} dilations is sufficient; the best Dice is {max(history):.3f}."]
            if status == "capped"
            else []
        ),
    )


def _with_minimal_region(
    question: Question, seen: _Object, found: Finding, values: Tensor, nothing: Tensor
) -> Finding:
    """Add the pruned mask to the finding of stage 1."""
    values = values * found.masks["sufficient_region"]
    kept = values > 0
    apart = (question.input - nothing).abs_().amax(1)[0]
    visible = kept & (apart > ROUNDING * question.input.abs().max())
    size = seen.pixels.sum()
    in_mask, in_image = (torch.stack([kept.sum(), visible.sum()]) / size).tolist()
    return Finding(
        map=values,
        masks={**found.masks, "minimally_sufficient_region": kept},
        stages=found.stages,
        stage_table=found.stage_table,
        curves=dict(found.curves),
        numbers={**found.numbers, "dice_explained": None, "ratio_mask": in_mask, "ratio_image": in_image},
        warnings=list(found.warnings),
    )


def _initial_mask(sufficient: Tensor, size: int | None) -> Tensor:
    """Return the sufficient region at the size of the mask: (1, 1, *mask grid) of ones and zeros."""
    grid = sufficient.shape
    longest = size or (max(grid) if len(grid) == 2 else max(grid) // 2)
    shape = [max(1, round(n * min(1.0, longest / max(grid)))) for n in grid]
    values = sufficient.float()[None, None]
    if tuple(shape) == tuple(grid):
        return values.clone()
    return {2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}[len(grid)](values, shape)


class _Enlarge:
    """Linear enlargement of a mask to the grid, one small matrix per axis.

    The same as `F.interpolate` with align_corners=False, whose backward pass takes ten times as long in 3D.
    """

    def __init__(self, mask: Tensor, grid: tuple[int, ...]):
        self.matrices = [
            F.interpolate(torch.eye(n, device=mask.device)[None], m, mode="linear", align_corners=False)[0]
            for n, m in zip(mask.shape[2:], grid, strict=True)
        ]

    def __call__(self, values: Tensor) -> Tensor:
        """Enlarge (1, 1, *mask grid) to (1, 1, *grid)."""
        for matrix in self.matrices:  # the first axis goes, and comes back as the last
            values = torch.tensordot(values, matrix, dims=([2], [0]))
        return values
