"""Occlusion: hide one box after the other, and see what the target loses.

    S(u) = mean over the boxes B that cover u of  f(x) - f(x with B hidden)

Zeiler and Fergus, ECCV 2014; for segmentation Gipiškis et al. 2023, who read the evaluation score of the label. Boxes
are square (cubic), `stride` apart; a last row ends at the border. Cost: one forward pass per box, or the part of it
that the network needs for what the box can change: where its receptive field is smaller than the image only that part
is run, with the same result.

Positive where hiding hurts, negative where it helps. One box at a time: evidence that is there twice does not show,
since the other copy does for both. For 256 x 256 x 256 cells it takes less than eight float32 copies of the image
beyond what a pass of the network takes (docs/performance.md). A map is as fine as its boxes, and finds nothing
larger than they are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import HELP as BASELINES
from napari_segxai.engine.masking.baselines import Baseline
from napari_segxai.engine.primitives.occlude import occlude
from napari_segxai.engine.question import Question
from napari_segxai.engine.sample_scores import SCORE_HELP, SampleScore, read_where, score_drop
from napari_segxai.methods.registry import Size, explainer


@dataclass(frozen=True)
class Options:
    """Parameters of occlusion."""

    patch: int | None = option(
        None, ge=1, unit="cells of the model grid", help="side of a box; by default an eighth of the longest side (3D: a sixth)"
    )  # fmt: skip
    stride: int | None = option(
        None, ge=1, unit="cells of the model grid", help="from box to box; by default half a side"
    )
    score: SampleScore = option("target", help=SCORE_HELP)
    baseline: Baseline = option("zero", help=BASELINES, advanced=True)


def sides(options: Options, grid: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return side and stride of the boxes per axis.

    Raises
    ------
    UserError
        If a box is larger than the grid.
    """
    patch = options.patch or max(1, max(grid) // (8 if len(grid) == 2 else 6))
    if options.patch is not None and options.patch > min(grid):
        shape = " x ".join(map(str, grid))
        raise UserError(
            f"occlusion: patch {options.patch} is larger than the model grid {shape}; choose {min(grid)} or less."
        )
    stride = options.stride or max(1, patch // 2)
    if stride > patch:
        raise UserError(
            f"occlusion: stride {stride} leaves gaps between boxes of {patch}; choose {patch} or less."
        )
    return tuple(min(patch, n) for n in grid), tuple(min(stride, n) for n in grid)


def corners_of(options: Options, grid: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the lowest corner of every box."""
    patch, stride = sides(options, grid)
    axes = [sorted({*range(0, n - p, s), n - p}) for n, p, s in zip(grid, patch, stride, strict=True)]
    return list(itertools.product(*axes))


def _passes(options: Options, size: Size) -> Passes:
    return Passes(1 + len(corners_of(options, size.grid)))


@explainer(
    "occlusion",
    title="Occlusion",
    question="what-if",
    summary="what the target loses when a part of the image is hidden",
    unit="{sample_score} lost when hidden",
    source="Zeiler & Fergus, ECCV 2014; Gipiškis et al. 2023",
    cites=("zeiler2014", "gipiskis2023occlusion"),
    options=Options,
    passes=_passes,
)
def occlusion(question: Question, options: Options) -> Steps[Finding]:
    """Average over the boxes that cover a pixel what hiding them costs."""
    size, strides = sides(options, question.grid)
    corners = corners_of(options, question.grid)
    _ = question.pixels  # an empty M ends it here
    total = torch.zeros(question.grid, device=question.device)
    most = math.prod(n // step + 1 for n, step in zip(size, strides, strict=True)) * 2 ** len(size)
    counts = torch.int16 if most < 2**15 else torch.int32  # a large volume has room for few copies
    times = torch.zeros(question.grid, dtype=counts, device=question.device)

    def finding() -> Finding:
        return Finding(
            total / times.clamp(min=1), numbers={"boxes": len(corners), "box": "x".join(map(str, size))}
        )

    def consume(start: int, logits: Tensor) -> None:
        for value, corner in zip(score_drop(question, options.score, logits), corners[start:], strict=False):
            box = tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))
            total[box] += value
            times[box] += 1

    yield from occlude(
        question,
        corners,
        size,
        consume,
        baseline=options.baseline,
        note="box",
        partial=finding,
        where=read_where(question, options.score),
    )
    return finding()
