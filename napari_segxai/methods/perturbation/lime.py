"""LIME: a linear model of what the network does when superpixels are switched on and off.

    min over b of  sum_i k(z_i) (v(z_i) - b_0 - b . z_i)^2 + |b|^2,   k(z) = exp(-(1 - cos(z, 1))^2 / width^2)

Ribeiro, Singh, Guestrin, KDD 2016. The image is cut into superpixels (SLIC; supervoxels in 3D; large
ones are made of blocks of pixels), each shown with probability one half; v is the worth of what is shown, by default the mean probability of the label over M; samples
near the whole image count more. The map is the coefficient of each superpixel. Cost: samples + 1 passes.

The weighted R^2 tells how far a sum of parts describes the network: below about 0.5 the map describes little. The
coefficients depend on the superpixels, the kernel width and the ridge, none of which the data decide, and do not add
up to the score: for shares that do, use kernel-shap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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

POOR = 0.5
"""R^2 below which the linear model describes little."""


@dataclass(frozen=True)
class Options:
    """Parameters of lime."""

    cells: int = option(60, ge=1, help="about how many superpixels")
    samples: int = option(500, ge=2, help="how often superpixels are switched on and off")
    shape: Shape = option("superpixels", help=SHAPES)
    score: SampleScore = option("probability", help=SCORE_HELP)
    width: float = option(
        0.25, gt=0, help="width of the kernel: how near the whole image samples count", advanced=True
    )
    ridge: float = option(1.0, ge=0, help="strength of the penalty on the coefficients", advanced=True)
    baseline: Baseline = option("mean", help=BASELINES, advanced=True)


def _passes(options: Options, size: Size) -> Passes:
    size.check("lime", "cells", options.cells, math.prod(size.grid))
    return Passes(options.samples + 1)


@explainer(
    "lime",
    title="LIME",
    question="evidence",
    summary="a linear model of what the network does near this image, superpixel by superpixel",
    unit="{sample_score} that the superpixel adds",
    source="Ribeiro et al., KDD 2016",
    cites=("ribeiro2016",),
    options=Options,
    passes=_passes,
)
def lime(question: Question, options: Options) -> Steps[Finding]:
    """Fit a ridge regression to the worth of random sets of superpixels."""
    _ = question.pixels  # an empty M ends it here
    cells = cut(question, options.shape, options.cells)
    count = int(cells.max()) + 1
    members = np.random.default_rng(question.seed).random((options.samples, count)) < 0.5
    members[0] = True  # the image itself
    values = np.zeros(len(members))
    done = 0

    def finding() -> Finding:
        shares, errors, fitted = ridge_fit(members[:done], values[:done], options.width, options.ridge)
        return Finding(
            torch.as_tensor(shares, dtype=torch.float32, device=question.device)[cells],
            maps={
                "standard_error": torch.as_tensor(errors, dtype=torch.float32, device=question.device)[cells]
            },
            numbers={
                "superpixels": count,
                "samples": done,
                "r_squared": fitted,
                "error": float(np.sqrt(np.mean(errors**2)) / (float(np.ptp(shares)) or 1.0)),
            },
            warnings=(
                [
                    f"a sum over superpixels describes the network poorly here (R² {fitted:.2f}): trust the map little."
                ]
                if fitted < POOR
                else []
            ),
        )

    def consume(start: int, masks: Tensor, logits: Tensor) -> None:
        nonlocal done
        values[start : start + len(masks)] = (
            sample_score(question, options.score, logits).double().cpu().numpy()
        )
        done = start + len(masks)

    yield from perturb(
        question,
        len(members),
        lambda start, n: cell_masks(members[start : start + n], cells),
        consume,
        hide=question.hide(options.baseline),
        note="sample",
        partial=finding,
        rough=lambda logits: sample_score(question, options.score, logits),
        where=read_where(question, options.score),
    )
    return finding()


def ridge_fit(
    members: np.ndarray, values: np.ndarray, width: float, ridge: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return coefficients (cells,), their standard errors and the weighted R^2 of a ridge regression with intercept.

    The errors come from the residuals, sample by sample (White 1980).

    Parameters
    ----------
    members
        Boolean (samples, cells).
    values
        (samples,).
    """
    z = members.astype(float)
    distance = 1 - np.sqrt(z.mean(1))  # cosine distance to all cells
    weights = np.exp(-((distance / width) ** 2))
    mean, level = np.average(z, 0, weights), np.average(values, weights=weights)
    centered, rest = z - mean, values - level
    gram = (centered.T * weights) @ centered + ridge * np.eye(z.shape[1])
    inverse = np.linalg.pinv(gram, hermitian=True)
    shares = inverse @ ((centered.T * weights) @ rest)
    pull = centered * (weights * (rest - centered @ shares))[:, None] @ inverse
    errors = np.sqrt((pull**2).sum(0))
    left, spread = np.sum(weights * (rest - centered @ shares) ** 2), np.sum(weights * rest**2)
    constant = spread <= 1e-20 * np.sum(weights * values**2)
    return shares, errors, 1.0 if constant else float(1 - left / spread)
