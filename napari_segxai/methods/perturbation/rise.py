"""RISE: the score of many randomly masked copies, spread over the pixels that each mask kept.

    S(u) = 1 / (N p) sum_i f(x * M_i) M_i(u)

Petsiuk, Das, Saenko, BMVC 2018; for segmentation Dardouillet et al., ICPR Workshops 2022 (mean probability of
the label over M) and the variant behind the tables of Hasany et al. (Dice of the hard prediction, blocky
masks, plain sum). A mask is a coarse random grid, enlarged and shifted at random; mask number i depends on the
seed and on i alone, whatever the batch size or the device. Cost: N forward passes.

With scores from 0 to 1 the map is never negative, and it has a floor where the object survives anything: read
differences, not levels. The error that is told comes from two halves of the masks; above four million cells there is
one sum only, and no error. Memory does not grow with N: for 256 x 256 x 256 cells, less than eight float32 copies of
the image beyond what a pass of the network takes (docs/performance.md).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import HELP, Baseline
from napari_segxai.engine.masking.sampling_error import TOLERANCE_HELP, SplitHalfMean
from napari_segxai.engine.primitives.perturb import perturb
from napari_segxai.engine.question import Question
from napari_segxai.engine.sample_scores import SCORE_HELP, SampleScore, read_where, sample_score
from napari_segxai.methods.registry import Size, explainer
from napari_segxai.models.inference.memory import LARGE

CHECKPOINTS = (100, 250, 500, 1000, 2000, 4000)


@dataclass(frozen=True)
class Options:
    """Parameters of rise."""

    masks: int = option(500, ge=1, help="number of random masks; more are smoother and slower")
    cells: int = option(7, ge=1, unit="per axis", help="cells of the coarse random grid")
    keep: float = option(0.5, gt=0, le=1, help="probability that a cell is kept")
    score: SampleScore = option("probability", help=SCORE_HELP)
    upsampling: Literal["linear", "nearest"] = option("linear", help="soft masks, or blocky ones")
    normalize: bool = option(True, help="divide by masks x keep; off: the plain sum", advanced=True)
    checkpoints: bool = option(False, help="also keep the maps after 100, 250, 500, ... masks", advanced=True)
    tolerance: float | None = option(None, gt=0, help=TOLERANCE_HELP, advanced=True)
    baseline: Baseline = option("zero", help=HELP, advanced=True)


PRESETS = {
    "petsiuk": {"masks": 4000, "cells": 7, "keep": 0.5, "score": "probability", "upsampling": "linear"},
    "dardouillet": {"masks": 2000, "cells": 7, "keep": 0.5, "score": "probability", "upsampling": "linear"},
    "hasany": {
        "masks": 2000,
        "cells": 7,
        "keep": 0.5398278372770290,  # the code draws from a normal distribution: P(z < 0.1)
        "score": "dice",
        "upsampling": "nearest",
        "normalize": False,
        "baseline": "zero",
    },
}


def _passes(options: Options, size: Size) -> Passes:
    size.check("rise", "cells", options.cells, max(size.grid))
    return Passes(options.masks + 1, 0)


@explainer(
    "rise",
    title="RISE",
    question="need",
    summary="which parts of the image, when kept, keep the object in the segmentation",
    unit=lambda options: (
        ("mean" if options.normalize else "sum") + " {sample_score} of copies that show the pixel"
    ),
    source="Petsiuk et al., BMVC 2018; Dardouillet et al., ICPR Workshops 2022",
    cites=("petsiuk2018", "dardouillet2022"),
    options=Options,
    passes=_passes,
    presets=PRESETS,
)
def rise(question: Question, options: Options) -> Steps[Finding]:
    """Average random masks, weighted by what the network still makes of the image behind them."""
    grid, _ = question.grid, question.pixels  # an empty M ends it here
    draw = MaskSampler(grid, options.cells, options.keep, options.upsampling, question.seed, question.device)
    # Two halves differ by the error that their sum has left; in a large volume a second one is dear.
    several = math.prod(grid) <= LARGE or options.tolerance is not None
    halves = SplitHalfMean(grid, question.device, several=several)
    checkpoints: dict[str, Tensor] = {}

    def finding() -> Finding:
        return Finding(scaled(), maps=checkpoints, numbers={"masks": halves.done, "error": halves.error()})

    def scaled() -> Tensor:
        return halves.total / (halves.done * options.keep if options.normalize else 1)

    def consume(start: int, masks: Tensor, logits: Tensor) -> bool:
        values = sample_score(question, options.score, logits)
        stops = (
            [n - start for n in CHECKPOINTS if start < n < start + len(masks)] if options.checkpoints else []
        )
        for first, last in itertools.pairwise([0, *stops, len(masks)]):
            halves.add(torch.tensordot(values[first:last], masks[first:last, 0], dims=1), last - first)
            if options.checkpoints and halves.done in CHECKPOINTS:
                checkpoints[f"map_{halves.done}"] = scaled()
        return halves.below(options.tolerance)

    yield from perturb(
        question,
        options.masks,
        lambda start, n: draw(range(start, start + n)),
        consume,
        hide=question.hide(options.baseline),
        note="mask",
        partial=finding,
        rough=lambda logits: sample_score(question, options.score, logits),
        where=read_where(question, options.score),
    )
    return finding()


class MaskSampler:
    """Random masks of RISE, in 2D or 3D, made one batch at a time.

    A mask is a random grid of `cells` per axis, enlarged to (cells + 1) cells' size and cropped at a random
    shift. Linear enlargement is separable, so that the crop costs one small matrix per axis.

    Parameters
    ----------
    grid
        Shape of the masks.
    cells, keep, upsampling
        See `Options`.
    """

    def __init__(
        self, grid: Sequence[int], cells: int, keep: float, upsampling: str, seed: int, device: torch.device
    ):
        self.grid, self.cells, self.keep, self.seed = tuple(grid), cells, keep, seed
        self.steps = [-(-n // cells) for n in grid]  # size of a cell, rounded up
        mode = "linear" if upsampling == "linear" else "nearest-exact"
        align = {"align_corners": False} if upsampling == "linear" else {}
        eye = torch.eye(cells)[None]
        self.enlarge = [
            F.interpolate(eye, (cells + 1) * step, mode=mode, **align)[0].T.contiguous().to(device)
            for step in self.steps
        ]

    def __call__(self, numbers: range) -> Tensor:
        """Return the masks with these numbers: (n, 1, *grid) in [0, 1]."""
        coarse, shifts = [], []
        for number in numbers:
            random = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, number]))
            coarse.append(random.random((self.cells,) * len(self.grid)) < self.keep)
            shifts.append([int(random.integers(0, step)) for step in self.steps])
        device = self.enlarge[0].device
        places = torch.tensor(shifts, device=device).T[:, :, None]
        masks = torch.from_numpy(np.stack(coarse)).to(device, torch.float32)
        for axis in reversed(range(len(self.grid))):  # the first axis last: the result is contiguous
            rows = self.enlarge[axis][places[axis] + torch.arange(self.grid[axis], device=device)]
            masks = _along(masks, rows, axis + 1)
        return masks[:, None]


def _along(tensor: Tensor, matrices: Tensor, axis: int) -> Tensor:
    """Multiply one axis of (n, ...) by a matrix per sample (n, out, in)."""
    moved = tensor.movedim(axis, 1)
    product = torch.bmm(matrices, moved.flatten(2))
    return product.unflatten(2, moved.shape[2:]).movedim(1, axis)
