"""Seg-Sobol: the share of the score's variance in which each cell of a grid has a part.

    S_Ti = E[(f(A) - f(C_i))^2] / (2 Var f),   C_i = A with cell i taken from B

Fel et al., NeurIPS 2021; for segmentation Shreim et al. (the score there: mean probability of the label over M). A
and B are scrambled Sobol sequences over the cells of a coarse grid; their numbers in [0, 1] say how much of a cell is
left. The estimator is Jansen's. Cost: designs x (cells + 2) forward passes.

Total indices count what a cell does alone and together with others, and so may add up to more than 1. They have no
sign: a cell that speaks against the label looks like one that speaks for it. The grid is the resolution of the map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import HELP as BASELINES
from napari_segxai.engine.masking.baselines import Baseline
from napari_segxai.engine.primitives.perturb import perturb
from napari_segxai.engine.question import Question
from napari_segxai.engine.sample_scores import SCORE_HELP, SampleScore, read_where, sample_score
from napari_segxai.methods.registry import Size, explainer
from napari_segxai.metrics.functional.statistics.sobol import LARGEST, SobolDesign, total_indices


@dataclass(frozen=True)
class Options:
    """Parameters of seg-sobol."""

    cells: int | None = option(
        None, ge=1, unit="per axis", help="cells of the coarse grid; by default 7, in 3D 4"
    )
    designs: int = option(16, ge=2, help="points of the Sobol sequence; powers of two fill the cube evenly")
    upsampling: Literal["nearest", "linear"] = option("nearest", help="blocky masks, or soft ones")
    score: SampleScore = option("probability", help=SCORE_HELP)
    tolerance: float | None = option(
        None, gt=0, help="stop once the error is below this share of the largest index", advanced=True
    )
    baseline: Baseline = option("zero", help=BASELINES, advanced=True)


def cells_of(options: Options, grid: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the coarse grid.

    Raises
    ------
    UserError
        If it is finer than the model grid, or than the sequence allows.
    """
    cells = options.cells or (7 if len(grid) == 2 else 4)
    if options.cells is not None and cells > min(grid):
        shape = " x ".join(map(str, grid))
        raise UserError(
            f"seg-sobol: cells {cells} is finer than the model grid {shape}; choose {min(grid)} or less."
        )
    shape = tuple(min(cells, n) for n in grid)
    if 2 * math.prod(shape) > LARGEST:
        raise UserError(f"seg-sobol: {math.prod(shape)} cells are more than {LARGEST // 2}; lower cells.")
    return shape


def _passes(options: Options, size: Size) -> Passes:
    return Passes(1 + options.designs * (math.prod(cells_of(options, size.grid)) + 2))


@explainer(
    "seg-sobol",
    title="Seg-Sobol",
    question="evidence",
    summary="in how much of the score's variance each part of the image plays a part, alone and with others",
    unit="share of the variance of the {sample_score}",
    source="Fel et al., NeurIPS 2021; Shreim et al.",
    cites=("fel2021", "shreim2023"),
    options=Options,
    passes=_passes,
)
def seg_sobol(question: Question, options: Options) -> Steps[Finding]:
    """Estimate total indices by Jansen's formula."""
    _ = question.pixels  # an empty M ends it here
    shape = cells_of(options, question.grid)
    count = math.prod(shape)
    design = SobolDesign(count, options.designs, question.seed, question.device)
    each = design.each
    values = torch.zeros(design.count, dtype=torch.float64)
    done = 0

    def rows(start: int, n: int) -> Tensor:
        """Masks from the points of the design."""
        coarse = design.rows(start, n).view(n, 1, *shape)
        if options.upsampling == "nearest":
            return F.interpolate(coarse, question.grid, mode="nearest-exact")
        mode = "bilinear" if len(shape) == 2 else "trilinear"
        return F.interpolate(coarse, question.grid, mode=mode, align_corners=False)

    def finding() -> Finding:
        whole = done // each
        indices, errors = total_indices(values[: whole * each].view(whole, each))
        spread = F.interpolate(indices.float().view(1, 1, *shape), question.grid, mode="nearest-exact")[0, 0]
        top = float(indices.max())
        return Finding(
            spread.to(question.device),
            numbers={
                "cells": "x".join(str(n) for n in shape),
                "designs": whole,
                "sum_of_indices": float(indices.sum()),
                "error": float(errors.square().mean().sqrt()) / top if top > 0 else 0.0,
            },
        )

    def consume(start: int, masks: Tensor, logits: Tensor) -> bool:
        nonlocal done
        values[start : start + len(masks)] = sample_score(question, options.score, logits).double().cpu()
        done = start + len(masks)
        enough = options.tolerance is not None and done >= 8 * each
        return enough and finding().numbers["error"] < options.tolerance

    yield from perturb(
        question,
        len(values),
        rows,
        consume,
        hide=question.hide(options.baseline),
        note="mask",
        partial=lambda: finding() if done >= 2 * each else Finding(torch.zeros(question.grid)),
        rough=lambda logits: sample_score(question, options.score, logits),
        where=read_where(question, options.score),
    )
    return finding()
