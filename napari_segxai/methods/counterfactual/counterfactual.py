"""Counterfactual: the smallest change found that makes the object vanish, or appear.

*segments*: the input is cut into pieces of similar intensity (SLIC; in 3D supervoxels; large ones are made of blocks
of pixels), cut once more along the outline of the object. Of all sets that are one piece larger, the one is taken that lowers

    vanish  mean over M of max(0, margin)        appear  mean over M of max(0, -margin)

most (margin = logit of the label - largest other logit, or 2 (s - logit t) of a sigmoid output s with the threshold t),
until the prediction's Dice with M falls below the bound, or rises above it. Then pieces are put back, the largest first, for as long as the goal stays reached: in the end no
single piece can be put back. *gradient*: a change delta, within the allowed part and the image's own range, that
minimises the same term (relative to its start) + sparsity mean |delta| + smoothness TV(delta), in units of the range;
then all but its largest values are undone, as far as the goal allows. Either way the edited image has gone through
the network, and what is reported was measured on it.

After Singh et al., ISBI 2022, whose text could not be had (the search is ours), and Zemni et al. (OCTET), CVPR 2023,
whose generator is not used: an edit here may not look like anything real. Cost: about pieces x pieces replaced
forward passes, or iterations forward and backward.

Trust it as a proof that this change is enough, not that it is the only one or the smallest of all: the search is
greedy. Replacing the object itself always makes it vanish; `where=outside M` asks for reasons in its surroundings.
The baseline decides what "replaced" means, and a sharp-edged patch can be seen by the network as something of its
own: compare two baselines. The map is what replacing each piece alone lowers the term by, or |delta|.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import EmptyRegion, Finding
from napari_segxai.engine.masking.baselines import HELP, Baseline, hide_behind
from napari_segxai.engine.masking.superpixels import (
    block_means,
    cell_masks,
    enlarged,
    numbered,
    piece_step,
    superpixels,
)
from napari_segxai.engine.primitives.optimize import optimize
from napari_segxai.engine.primitives.optimizers import AdamW
from napari_segxai.engine.primitives.perturb import perturb, stream
from napari_segxai.engine.question import Question
from napari_segxai.engine.scores import dice
from napari_segxai.methods.registry import Size, explainer
from napari_segxai.models.windows.tiling import box_of

BEYOND = 0.1
"""How far past the boundary the gradient pushes, as a share of the margin at the start."""
SHARES = (1.0, 0.8, 0.6, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01)
"""Shares of the changed pixels that are tried, those of the largest change."""


@dataclass(frozen=True)
class Options:
    """Parameters of counterfactual."""

    goal: Literal["vanish", "appear"] = option("vanish", help="whether the object in M has to go, or to come")
    search: Literal["segments", "gradient"] = option(
        "segments", help="replace whole pieces of the image, or change it by gradient descent"
    )
    where: Literal["everywhere", "outside M", "inside M"] = option("everywhere", help="what may be changed")
    bound: float | None = option(
        None,
        gt=0,
        le=1,
        help="Dice with M to fall below (vanish, by default 0.1) or rise above (appear, by default 0.5)",
    )
    segments: int = option(40, ge=2, help="about how many pieces the image is cut into")
    most: int = option(12, ge=1, unit="pieces", help="number of changed pieces after which it gives up")
    filling: Literal["baseline", "the label's mean"] = option(
        "baseline", help="what replaces a piece; the mean of the label's own pixels helps objects to appear"
    )
    compactness: float = option(
        0.1, gt=0, advanced=True, help="compactness of SLIC: a higher one makes squarer pieces"
    )
    iterations: int = option(100, ge=1, advanced=True, help="steps of the gradient search")
    lr: float = option(
        0.02, gt=0, unit="of the range", advanced=True, help="learning rate of the gradient search"
    )
    sparsity: float = option(
        1.0, ge=0, advanced=True, help="weight of the mean change, for the gradient search"
    )
    smoothness: float = option(
        0.1,
        ge=0,
        advanced=True,
        help="weight of the mean total variation of the change, for the gradient search",
    )
    baseline: Baseline = option("background", help=HELP, advanced=True)


def _passes(options: Options, size: Size) -> Passes:
    size.check("counterfactual", "segments", options.segments, math.prod(size.grid))
    if options.search == "gradient":
        return Passes(1 + options.iterations + len(SHARES) + 1, options.iterations)
    rounds = min(options.most, options.segments)
    tried = sum(options.segments - k for k in range(rounds))
    return Passes(1 + tried + rounds * (rounds + 1) // 2 + 1)


@explainer(
    "counterfactual",
    title="Counterfactual",
    question="what-if",
    summary="a small change of the image that makes the object vanish from the segmentation, or appear in it",
    unit=lambda options: (
        "change of the margin by the piece" if options.search == "segments" else "change of the input"
    ),
    source="after Singh et al., ISBI 2022; Zemni et al. (OCTET), CVPR 2023",
    cites=("singh2022", "zemni2023"),
    options=Options,
    passes=_passes,
    needs_drawn=lambda options: options.goal == "vanish",
    presets={
        "context only": {"where": "outside M"},
        "appear": {"goal": "appear", "filling": "the label's mean"},
        "gradient": {"search": "gradient"},
    },
)
def counterfactual(question: Question, options: Options) -> Steps[Finding]:
    """Search for an edit that reaches the goal, make it smaller, and check it."""
    goal = _Goal(question, options)
    yield question.step("prediction")
    if options.search == "gradient":
        return (yield from _by_gradient(question, options, goal))
    return (yield from _by_segments(question, options, goal))


class _Goal:
    """What the edited image has to bring about, and where it may be edited."""

    def __init__(self, question: Question, options: Options):
        self.question = question
        self.vanish = options.goal == "vanish"
        predicted, pixels = question.predicted, question.pixels
        self.pixels = question.drawn_object() if self.vanish else pixels
        self.box = box_of(self.pixels)
        self.inside = self.pixels[self.box].flatten().float()
        others = predicted & ~pixels
        self.within = ~others if bool(others.any()) else None
        self.bound = options.bound if options.bound is not None else 0.1 if self.vanish else 0.5
        name = question.model.labels[question.label]
        self.dice_before = float(self.dice(question.logits))
        if not self.vanish and self.reached(self.dice_before):
            raise EmptyRegion(
                f"{question.model.name} draws {name!r} there already (Dice {self.dice_before:.2f}), so nothing has to "
                "change and the map is zero; choose a region where it is not predicted."
            )
        self.allowed = {
            "everywhere": torch.ones_like(pixels),
            "outside M": ~self.pixels,
            "inside M": self.pixels,
        }[options.where]
        if not bool(self.allowed.any()):
            raise EmptyRegion("M is the whole image, so nothing outside it can change and the map is zero.")

    def dice(self, logits: Tensor) -> Tensor:
        """Dice of the prediction with M: (N, labels, *grid) -> (N,)."""
        return dice(self.question.drawn(logits), self.pixels, self.within)

    def reached(self, value: float) -> bool:
        """Tell whether this Dice is the goal."""
        return value < self.bound if self.vanish else value > self.bound

    def loss(self, logits: Tensor, beyond: float = 0.0) -> Tensor:
        """How much is left to do: (N, labels, *grid) -> (N,), 0 where every pixel of M is as wanted."""
        wins = self.question.margin(logits[(..., *self.box)])
        left = ((wins if self.vanish else -wins) + beyond).clamp(min=0)
        return left.flatten(1) @ self.inside / self.inside.sum()


# -- pieces ------------------------------------------------------------------------------------------


def _by_segments(question: Question, options: Options, goal: _Goal) -> Steps[Finding]:
    pieces = cut(question.input[0], options.segments, options.compactness, goal.pixels)
    count = int(pieces.max()) + 1
    sizes = torch.bincount(pieces.flatten(), minlength=count).tolist()
    hide = question.hide(options.baseline)
    if options.filling == "the label's mean":
        hide = hide_behind(question.input, _mean_of_label(question))
    # Pieces that look like what replaces them already cannot change anything.
    unlike = (hide(torch.zeros_like(question.input[:, :1])) != question.input).any(1)[0]
    free = torch.bincount(pieces[goal.allowed & unlike]).nonzero()[:, 0].tolist()
    start = float(goal.loss(question.logits))
    effects = torch.zeros(count, device=question.device)
    chosen: list[int] = []
    history = [(goal.dice_before, start)]

    def keep(sets: Sequence[Sequence[int]]) -> Tensor:
        kept = np.ones((len(sets), count), bool)
        for row, pieces_out in zip(kept, sets, strict=True):
            row[list(pieces_out)] = False
        return cell_masks(kept, pieces)

    def finding() -> Finding:
        edited = hide(keep([chosen]))
        found = _found(question, goal, effects[pieces], edited, history)
        found.numbers.update(pieces=count, pieces_replaced=len(chosen))
        return found

    def judge(sets: Sequence[Sequence[int]], note: str) -> Steps[list[tuple[float, float]]]:
        """Return Dice and loss of every set."""
        out: list[tuple[float, float]] = []
        yield from perturb(
            question,
            len(sets),
            lambda first, n: keep(sets[first : first + n]),
            lambda first, masks, logits: out.extend(
                zip(goal.dice(logits).tolist(), goal.loss(logits).tolist(), strict=True)
            ),
            hide=hide,
            note=note,
            partial=finding,
        )
        return out

    while len(chosen) < min(options.most, len(free)) and not goal.reached(history[-1][0]):
        left = [k for k in free if k not in chosen]
        results = yield from judge([[*chosen, k] for k in left], f"piece {len(chosen) + 1}, trying")
        if not chosen:
            effects[left] = start - torch.tensor([loss for _, loss in results], device=question.device)
        enough = [i for i, (value, _) in enumerate(results) if goal.reached(value)]
        best = (
            min(enough, key=lambda i: sizes[left[i]])
            if enough
            else min(range(len(left)), key=lambda i: results[i][1])
        )
        chosen.append(left[best])
        history.append(results[best])
    while len(chosen) > 1 and goal.reached(history[-1][0]):
        results = yield from judge(
            [[k for k in chosen if k != out] for out in chosen], "putting back, trying"
        )
        spare = [i for i, (value, _) in enumerate(results) if goal.reached(value)]
        if not spare:
            break
        back = max(spare, key=lambda i: sizes[chosen[i]])
        history.append(results[back])
        del chosen[back]
    return (yield from _checked(question, goal, finding()))


def cut(tensor: Tensor, segments: int, compactness: float, inside: Tensor) -> Tensor:
    """Cut an input into pieces of similar intensity that respect the outline of `inside`.

    Parameters
    ----------
    tensor
        (channels, *grid).
    inside
        Boolean (*grid).

    Returns
    -------
    Tensor
        (*grid): number of the piece, 0, 1, ...
    """
    grid = inside.shape
    step = piece_step(grid, segments)
    blocks = np.stack([block_means(_from_0_to_1(one.float().cpu().numpy()), step) for one in tensor])
    pieces = enlarged(superpixels(blocks, segments, compactness), step, grid)
    return torch.from_numpy(numbered(2 * pieces + inside.cpu().numpy())).to(tensor.device)


def _from_0_to_1(channel: np.ndarray) -> np.ndarray:
    low, high = channel.min(), channel.max()
    return (channel - low) / (high - low if high > low else 1)


def _mean_of_label(question: Question) -> Tensor:
    """Mean of the pixels that are predicted as the label: (1, channels, 1, ...)."""
    if not bool(question.predicted.any()):
        name = question.model.labels[question.label]
        raise UserError(
            f"counterfactual: filling takes the mean of the pixels predicted as {name!r}, and there are none; choose "
            "baseline."
        )
    mean = question.input[0][:, question.predicted].mean(1)
    return mean.view(1, -1, *(1,) * len(question.grid))


# -- gradient ----------------------------------------------------------------------------------------


def _by_gradient(question: Question, options: Options, goal: _Goal) -> Steps[Finding]:
    image = question.input
    dims = tuple(range(2, image.ndim))
    least, largest = image.amin(dims, keepdim=True), image.amax(dims, keepdim=True)
    span = (largest - least).clamp(min=1e-12)
    low, high = (least - image) / span, (largest - image) / span
    allowed = goal.allowed.to(image.dtype)[None, None]
    start = max(float(goal.loss(question.logits)), 1e-12)
    delta = torch.zeros_like(image)

    def edited(change: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(image + change * span, least), largest)

    def loss(change: Tensor, logits: Tensor) -> Tensor:
        left = goal.loss(logits, BEYOND * start).sum() / start
        variation = sum(change.diff(dim=axis).abs().mean() for axis in dims if change.shape[axis] > 1)
        return left + options.sparsity * change.abs().mean() + options.smoothness * variation

    def after(change: Tensor) -> None:
        change.copy_(torch.minimum(torch.maximum(change, low), high)).mul_(allowed)

    def so_far() -> Finding:
        now = delta.detach()
        return _found(question, goal, now.abs().sum(1)[0], edited(now), [])

    losses = yield from optimize(
        question,
        delta,
        edited,
        loss,
        iterations=options.iterations,
        descent=partial(AdamW, lr=options.lr),
        after=after,
        note="change",
        partial=so_far,
    )
    size = delta.abs().amax(1)[0]
    ordered = size[size > 0].sort(descending=True).values
    counts = sorted({max(1, round(share * len(ordered))) for share in SHARES}) if len(ordered) else []
    thresholds = [float(ordered[count - 1]) for count in counts]
    tried: list[float] = []

    def run(first: int, n: int) -> Tensor:
        parts = [delta * (size >= t) for t in thresholds[first : first + n]]
        return question.forward(edited(torch.cat(parts)))

    yield from stream(
        question,
        len(thresholds),
        run,
        lambda first, logits: tried.extend(goal.dice(logits).tolist()),
        note="undoing small changes, trying",
        partial=so_far,
    )
    enough = [t for t, value in zip(thresholds, tried, strict=True) if goal.reached(value)]
    kept = delta * (size >= enough[0]) if enough else delta  # fewest pixels first
    found = _found(question, goal, kept.abs().sum(1)[0], edited(kept), [])
    found.curves["search"] = {"iteration": list(range(options.iterations)), "loss": losses.tolist()}
    return (yield from _checked(question, goal, found))


# -- the result --------------------------------------------------------------------------------------


def _found(
    question: Question, goal: _Goal, map: Tensor, edited: Tensor, history: Sequence[tuple[float, float]]
) -> Finding:
    changed = (edited != question.input).any(1)[0]
    cells = int(changed.sum())
    names = [""] if edited.shape[1] == 1 else [f"_{name}" for name in question.model.card.channels]
    return Finding(
        map,
        maps={f"edited_image{name}": edited[0, k] for k, name in enumerate(names)},
        masks={"changed_region": changed},
        curves={
            "search": {
                "step": list(range(len(history))),
                "dice": [value for value, _ in history],
                "loss": [loss for _, loss in history],
            }
        },
        numbers={
            "status": "searching",
            "dice_before": goal.dice_before,
            "dice_after": history[-1][0] if history else None,
            "changed_cells": cells,
            "changed_share": cells / changed.numel(),
            "changed_share_in_M": float((changed & goal.pixels).sum()) / max(cells, 1),
            f"changed_{question.size_name}": cells * question.cell_volume,
        },
        warnings=[],
    )


def _checked(question: Question, goal: _Goal, found: Finding) -> Steps[Finding]:
    """Run the network on the edited image itself, and report that."""
    edited = torch.stack([values for name, values in found.maps.items() if name.startswith("edited_image")])
    with torch.inference_mode():
        logits = question.forward(edited[None])
        value = float(goal.dice(logits))
        found.masks["prediction_after"] = question.drawn(logits)[0].clone()
    found.numbers["dice_after"] = value
    found.numbers["status"] = "reached" if goal.reached(value) else "not reached"
    yield question.step("checked")
    if not goal.reached(value):
        way = "below" if goal.vanish else "above"
        found.warnings.append(
            f"no change was found that brings the Dice with M {way} {goal.bound:g} (it is {value:.2f}); allow more "
            "pieces or iterations, another place or another filling."
        )
    return found
