"""The predicted object, and the region that suffices for it: dilated until the network draws the object again."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from napari_segxai.core.arrays import ROUNDING
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import Baseline
from napari_segxai.engine.masking.morphology import ball, dilate
from napari_segxai.engine.primitives.regularizers import sum_of_ratios
from napari_segxai.engine.question import Question
from napari_segxai.engine.scores import dice


class PredictedObject:
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

    def soft_agreement(self, logits: Tensor) -> Tensor:
        """Soft Dice with the object whose slope does not vanish where the network is sure: (N,), differentiable.

        Margins are divided by a quarter of their median over the object, if that is above 1.
        """
        shown = torch.sigmoid(self.question.margin(logits) / self.softness)
        if self.within is not None:
            shown = shown * self.within
        both = (shown * self.pixels).flatten(1).sum(1)
        return 2 * both / (shown.flatten(1).sum(1) + self.pixels.sum())

    @cached_property
    def softness(self) -> float:
        """What margins are divided by."""
        return max(1.0, float(self.question.margin(self.question.logits)[0][self.pixels].median()) / 4)

    def soft_dice(self, logits: Tensor, alphas: Tensor) -> Tensor:
        """Soft Dice of label and background, weighted by `alphas` (2,) and summed (eq. 1, third term)."""
        labels = [self.question.label] if self.complement else [self.question.label, 0]
        seen = [self.question.model.probability(logits, label).flatten(1) for label in labels]
        values = seen[0] if len(seen) == 1 else torch.cat(seen, 1)
        return sum_of_ratios(values, self.rows, self.parts, self.offsets, alphas)


class Dilation:
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


def sufficient_region(question: Question, region: Dilation, history: list[float], status: str) -> Finding:
    """Return the first stage's region after the dilations whose Dice are in `history`."""
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


def visible_pixels(question: Question, baseline: Baseline) -> Tensor:
    """Return which pixels differ from the baseline that would hide them: boolean (*grid)."""
    nothing = question.hide(baseline)(torch.zeros((1, 1, *question.grid), device=question.device))
    apart = (question.input - nothing).abs_().amax(1)[0]
    return apart > ROUNDING * question.input.abs().max()
