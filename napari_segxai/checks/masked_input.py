"""Masked input: is an image with parts hidden far outside what the network has seen?

Methods and metrics that hide pixels take the network's answer to a masked image at face value. If it draws the label on
the baseline alone, where there is nothing, or no longer knows what to draw when half of the image is hidden, that answer
comes from the hiding. The number is how many pixels of the label the network draws on the baseline alone, as a share of
those that it draws in the image. The mean uncertainty (entropy, as a share of the largest possible) of images of which half
the blocks are hidden counts as well: how far it rises above that of the image, less the rise where the same blocks show
other blocks of the image instead. That is the control: as much is lost there, but nothing is filled with what no image holds.

Hooker et al., NeurIPS 2019 (ROAR), on inputs outside the distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from napari_segxai.checks.context import CheckContext, PassCounter
from napari_segxai.checks.registry import Verdict, check
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.masking.baselines import HELP, Baseline, Hide
from napari_segxai.engine.primitives.perturb import perturb
from napari_segxai.engine.question import Question

BLOCKS = 8
"""Blocks along the longest side."""


@dataclass(frozen=True)
class Options:
    """Parameters of masked-input."""

    baseline: Baseline | None = option(
        None, help="by default that of the method, or else background; " + HELP
    )
    masks: int = option(4, ge=1, le=1000, help="images of which half is hidden")
    threshold: float = option(0.1, ge=0, le=1, help="share of the label's pixels drawn on the baseline alone")
    uncertainty: float = option(
        0.2, ge=0, le=1, help="rise of the mean uncertainty, above that of the control, that is too much"
    )


@check(
    "masked-input",
    title="Masked input",
    question="Is a masked image far outside what the network has seen?",
    source="Hooker et al., NeurIPS 2019",
    cost="3 + 2 x masks forward passes",
    options=Options,
    passes=lambda context, options: Passes(3 + 2 * options.masks),
)
def masked_input(context: CheckContext, options: Options, counter: PassCounter) -> Steps[Verdict]:
    """Show the network the baseline alone, and half-masked images."""
    if not context.drawn.any():
        why = f"No pixel is predicted as {context.label!r}: there is nothing to compare."
        return Verdict(None, None, options.threshold, why)
    baseline = options.baseline
    if baseline is None:
        baseline = context.explanation.record.parameters.get("baseline", "background")
    with context.question(counter) as question:
        yield counter.step("the image")
        nothing = question.input.new_zeros((1, 1, *question.grid))
        masks = torch.cat([nothing, half_masks(question, options.masks)])
        image = Answers()
        image.add(question, question.logits)
        hidden = yield from _masked(question, masks, question.hide(baseline), "masked image")
        other = yield from _masked(question, masks, _filling(question.input, mixed(question)), "mixed image")
    if not np.isfinite([*image.uncertainty, *hidden.uncertainty]).all():
        where = "with half of the image hidden"
        if np.isfinite(hidden.uncertainty[1:]).all():
            where = "on the baseline alone"
        why = f"The network returns values that are not finite {where} ({_name(baseline)}): what hiding tells comes from the "
        return Verdict(False, None, options.threshold, f"{why}hiding; try another baseline.")
    (whole,), (unsure,) = image.drawn, image.uncertainty
    if not whole:
        why = f"No pixel is predicted as {context.label!r} on the model's grid: there is nothing to compare."
        return Verdict(None, None, options.threshold, why)
    number = hidden.drawn[0] / whole
    when_hidden, when_mixed = (float(np.mean(one.uncertainty[1:])) for one in (hidden, other))
    details = {
        "label on the baseline": number,
        "label when half is hidden": float(np.mean(hidden.drawn[1:])) / whole,
        "uncertainty of the image": unsure,
        "uncertainty on the baseline": hidden.uncertainty[0],
        "uncertainty when half is hidden": when_hidden,
        "label when half is mixed": float(np.mean(other.drawn[1:])) / whole,
        "uncertainty when half is mixed": when_mixed,
    }
    measured = (
        f"The network draws {number:.0%} of the pixels of {context.label!r} on the baseline alone ({_name(baseline)}), and its "
        f"uncertainty goes from {unsure:.2f} to {when_hidden:.2f} when half of the image is hidden (to {when_mixed:.2f} when other "
        "blocks of the image are there)"
    )
    rise = when_hidden - max(unsure, when_mixed)
    passed = number <= options.threshold and rise <= options.uncertainty
    end = (
        "hiding is safe here"
        if passed
        else "what hiding tells may come from the hiding; try another baseline"
    )
    return Verdict(passed, number, options.threshold, f"{measured}: {end}.", details)


@dataclass
class Answers:
    """What the network answered to some images: how many pixels of the label it draws, and its mean uncertainty."""

    drawn: list[float] = field(default_factory=list)
    uncertainty: list[float] = field(default_factory=list)

    def add(self, question: Question, logits: Tensor) -> None:
        """Add the answers (n, labels, *grid)."""
        self.drawn += question.drawn(logits).flatten(1).sum(1).tolist()
        self.uncertainty += uncertainty(question, logits).tolist()


def _masked(question: Question, masks: Tensor, hide: Hide, note: str) -> Steps[Answers]:
    """Ask about the image behind each mask (n, 1, *grid), in their order."""
    answers = Answers()
    yield from perturb(
        question,
        len(masks),
        lambda start, n: masks[start : start + n],
        lambda _start, _masks, logits: answers.add(question, logits),
        hide=hide,
        note=note,
    )
    return answers


def _name(baseline: Baseline) -> str:
    return f"{baseline:g}" if isinstance(baseline, float | int) else baseline


def mixed(question: Question) -> Tensor:
    """Return the input with its blocks in another order: (1, channels, *grid)."""
    rng, out = np.random.default_rng(question.seed), question.input
    side = max(1, max(question.grid) // BLOCKS)
    for axis, n in enumerate(question.grid):
        blocks = [np.arange(start, min(start + side, n)) for start in range(0, n, side)]
        order = np.concatenate([blocks[k] for k in rng.permutation(len(blocks))])
        out = out.index_select(2 + axis, torch.from_numpy(order).to(out.device))
    return out


def _filling(image: Tensor, other: Tensor) -> Hide:
    """Return what shows another image wherever a mask hides the first."""
    return lambda masks: torch.where(masks > 0, image, other)


def half_masks(question: Question, count: int) -> Tensor:
    """Return masks (count, 1, *grid) that hide half of the blocks at random: 1 keeps a pixel."""
    grid, rng = question.grid, np.random.default_rng(question.seed)
    side = max(1, max(grid) // BLOCKS)
    blocks = tuple(-(-n // side) for n in grid)
    total = math.prod(blocks)
    out = np.zeros((count, 1, *grid), np.float32)
    for mask in out:
        kept = rng.permutation(total).reshape(blocks) < total / 2
        for axis in range(len(grid)):
            kept = kept.repeat(side, axis)
        mask[0] = kept[tuple(slice(n) for n in grid)]
    return torch.from_numpy(out).to(question.device)


def uncertainty(question: Question, logits: Tensor) -> Tensor:
    """Mean entropy over the pixels of (n, labels, *grid), as a share of the largest possible: (n,)."""
    p = question.model.probabilities(logits)
    if question.model.card.activation == "sigmoid":  # one label against the rest
        p = torch.stack([p[:, question.label], 1 - p[:, question.label]], 1)
    return torch.special.entr(p).sum(1).flatten(1).mean(1) / math.log(p.shape[1])
