"""Kernel SHAP: every cell's share of what the image is worth, averaged over all orders in which cells could appear.

    phi_i = sum over S without i of  |S|! (d - |S| - 1)! / d!  (v(S and i) - v(S)),   sum_i phi_i = v(all) - v(none)

Lundberg and Lee, NeurIPS 2017; for segmentation, on hexagonal cells, Dardouillet et al., ICPR Workshops 2022. v(S)
is the worth of the image with the cells of S alone: by default the mean probability of the label over M. The d
numbers come from a least-squares fit under the efficiency constraint, on coalitions drawn with the Shapley kernel in
pairs (S and its complement; Covert and Lee, AISTATS 2021); with so few cells that all coalitions fit into `samples`
they are all taken, and the values are exact. In 3D the cells are those of the face-centred lattice. Cost: samples +
3 passes.

Shares add up, so that the map can be read as "how much of the score comes from here". They are shares of the
difference between the image and the baseline, and depend on that. Cells hide structure below their size; the error
given with the result is that of the drawing alone.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import HELP as BASELINES
from napari_segxai.engine.masking.baselines import Baseline
from napari_segxai.engine.masking.superpixels import HELP as SHAPES
from napari_segxai.engine.masking.superpixels import Shape, cell_masks, cut
from napari_segxai.engine.primitives.perturb import perturb
from napari_segxai.engine.question import Question
from napari_segxai.engine.sample_scores import SCORE_HELP, SampleScore, read_where, sample_score
from napari_segxai.methods.registry import Size, explainer


@dataclass(frozen=True)
class Options:
    """Parameters of kernel-shap."""

    cells: int = option(60, ge=1, help="about how many cells the image is cut into")
    samples: int = option(512, ge=2, help="coalitions of cells that are shown to the network")
    shape: Shape = option("honeycomb", help=SHAPES)
    score: SampleScore = option("probability", help=SCORE_HELP)
    tolerance: float | None = option(
        None, gt=0, help="stop once the error is below this share of the map's range", advanced=True
    )
    baseline: Baseline = option("zero", help=BASELINES, advanced=True)


def _passes(options: Options, size: Size) -> Passes:
    size.check("kernel-shap", "cells", options.cells, math.prod(size.grid))
    return Passes(options.samples + 3)


@explainer(
    "kernel-shap",
    title="Kernel SHAP",
    question="evidence",
    summary="how much of the score each part of the image contributes; the shares add up",
    unit="part of the {sample_score}, by cell",
    source="Lundberg & Lee, NeurIPS 2017; Dardouillet et al., ICPR Workshops 2022",
    cites=("lundberg2017", "dardouillet2022"),
    options=Options,
    passes=_passes,
)
def kernel_shap(question: Question, options: Options) -> Steps[Finding]:
    """Fit the worth of coalitions by a sum over their cells."""
    _ = question.pixels  # an empty M ends it here
    cells = cut(question, options.shape, options.cells)
    count = int(cells.max()) + 1
    members, weights = coalitions(count, options.samples, question.seed)
    # The two that the constraint is about come first.
    ends = np.stack([np.zeros(count, bool), np.ones(count, bool)])
    members = np.concatenate([ends, members])
    values = np.zeros(len(members))
    done = 0

    def finding() -> Finding:
        shares, errors = fit(members[2:done], values[2:done], weights[: done - 2], values[0], values[1])
        spread = float(np.ptp(shares)) or 1.0
        place: dict[str, Any] = {"device": question.device, "dtype": torch.float32}
        return Finding(
            torch.as_tensor(shares, **place)[cells],
            maps={"standard_error": torch.as_tensor(errors, **place)[cells]},
            numbers={
                "cells": count,
                "coalitions": done - 2,
                "all_coalitions": len(members) - 2 == 2**count - 2,
                "worth_of_all": float(values[1]),
                "worth_of_none": float(values[0]),
                "sum": float(shares.sum()),
                "residual": float(shares.sum() - (values[1] - values[0])),
                "error": float(np.sqrt(np.mean(errors**2)) / spread),
            },
        )

    def consume(start: int, masks: Tensor, logits: Tensor) -> bool:
        nonlocal done
        values[start : start + len(masks)] = (
            sample_score(question, options.score, logits).double().cpu().numpy()
        )
        done = start + len(masks)
        enough = options.tolerance is not None and done >= 4 * count + 2
        return enough and finding().numbers["error"] < options.tolerance

    yield from perturb(
        question,
        len(members),
        lambda start, n: cell_masks(members[start : start + n], cells),
        consume,
        hide=question.hide(options.baseline),
        note="coalition",
        partial=lambda: finding() if done > 2 * count else Finding(torch.zeros(question.grid)),
        rough=lambda logits: sample_score(question, options.score, logits),
        where=read_where(question, options.score),
    )
    return finding()


def coalitions(count: int, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return coalitions of cells and their weights in the fit.

    All but the empty and the full one where they are no more than `samples`; else drawn with the Shapley kernel, each
    followed by its complement.

    Returns
    -------
    members
        Boolean (coalitions, count).
    weights
        (coalitions,).
    """
    if count < 2:
        return np.zeros((0, count), bool), np.zeros(0)
    if 2**count - 2 <= samples:
        members = np.array(list(itertools.product([False, True], repeat=count)))[1:-1]
        size = members.sum(1)
        binomial = np.array([math.comb(count, int(s)) for s in size], float)
        return members, (count - 1) / (binomial * size * (count - size))
    random = np.random.default_rng(seed)
    sizes = np.arange(1, count)
    chance = 1 / (sizes * (count - sizes))
    drawn = random.choice(sizes, (samples + 1) // 2, p=chance / chance.sum())
    order = random.random((len(drawn), count)).argsort(1)
    half = order < drawn[:, None]
    members = np.stack([half, ~half], 1).reshape(-1, count)[:samples]
    return members, np.ones(len(members))


def fit(
    members: np.ndarray, values: np.ndarray, weights: np.ndarray, none: float, all: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit shares that add up to ``all - none``; return them with their standard errors, (cells,) each.

    The errors come from the residuals of the fit, pair by pair (a pair's two coalitions are not independent); they are 0
    where all coalitions were taken.
    """
    count = members.shape[1]
    if count < 2 or not len(members):
        return np.full(count, (all - none) / count), np.zeros(count)
    z = members.astype(float)
    gram = (z.T * weights) @ z / weights.sum()
    inverse = np.linalg.pinv(gram, rcond=1e-10, hermitian=True)
    ones = inverse.sum(1)
    plain = inverse @ ((z.T * weights) @ (values - none) / weights.sum())
    shares = plain - ones * (plain.sum() - (all - none)) / ones.sum()
    if len(members) == 2**count - 2:
        return shares, np.zeros(count)
    projected = inverse - np.outer(ones, ones) / ones.sum()
    pull = z * (values - none - z @ shares)[:, None]
    pairs = pull[: len(pull) // 2 * 2].reshape(-1, 2, count).sum(1) @ projected
    return shares, np.sqrt((pairs**2).sum(0)) / len(members)
