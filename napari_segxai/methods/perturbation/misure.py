"""MiSuRe: a sufficient region found by dilating the prediction, pruned to a minimally sufficient region.

Stage 1: M = the predicted object; while Dice(f(x), f(x * M)) <= tau: dilate M. The result is the sufficient
region (SR). Stage 2 leaves out what can be missed; what is left is the minimally sufficient region (MSR). `search` says how:

- "stable" (the default, unless a parameter of the descent is given): cells of the region, from coarse to fine, are ranked by gradient x mask, summed over four strengths of the mask,
  and the weakest half is hidden, or a quarter, an eighth, ..., whatever still explains tau; then groups of cells are
  tried. Every step is tested, so that the MSR suffices; nothing is drawn at random, and it repeats (see "What it is worth" below).
- "paper": starting from SR, AdamW minimises

      lambda / |M| sum |M|  +  gamma TV(M)  +  1 - sum_{i in {background, label}} alpha_i softDice_i(f(x_SR * M), f(x))

  and after every step values below 0.2 become 0 and values above 1 become 1; what is not 0 in the end is the MSR.
  Hasany, Meriaudeau, Petitjean, "MiSuRe is all you need to explain your image segmentation", 2026, algorithm 1 and eq. 1.
- "smallest": both, with a lambda that is a share of the region and is multiplied by e^0.4 while what is not 0 suffices and by
  e^-0.8 when it does not; the smaller region that suffices. The curve "pareto" has what was tested: size against Dice.

Cost of "paper": (dilations + 1) + iterations + 1 forward, iterations backward; of "stable": about 60 to 160 forward and 20 to 40
backward per region that is looked for, and a forward pass per window.

The smallest region is seldom the only one. `alternatives` looks for regions that do without the pixels of earlier ones, and
tests which windows of the sufficient region cannot be missed. Regions are told as different reasons only where they share less
(`least_shared`, of the smaller one) than 3 - 2 / tau: so far apart tau lets two regions lie that miss other pixels of one object; an MSR that fails before another baseline though the
sufficient region does not is told, since it may be a pattern that the filling makes. `repeats` prunes again with noise of a
millionth of the image's range and tells how far the regions agree.

What it is worth: where a network needs either of two patches, one is found by each region and no window is needed; where it needs
both, both are. With the search "paper" no fixed lambda fits all networks: it removes nothing of some regions and takes others
below tau, and on some networks which pixels are left hangs on the last digits.

What the paper leaves open, and what is done here: total variation is a mean over neighbours (a sum would
dwarf the Dice term), gamma 0.01 and beta 2; weight decay 0; dilation ends at the latest with the full image
(status "full") or at `max_dilations` ("capped"), else a sufficient region is "reached"; nothing in eq. 1 holds the
pruned region above tau, so that its Dice is looked at once more (status "pruned below tau"); the size of a region is counted both on
the mask and on the masked image, where pixels equal to the baseline do not count. With a region within the label, other objects
of the label are left out of every Dice.

In the descent a learning rate of 0.001 cannot prune (a value falls by at most 0.1 in 100 steps); a high learning rate or
lambda can destroy the mask: compare Dice explained before you believe a small region.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import combinations
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.eliminate import expected_passes
from napari_segxai.engine.primitives.perturb import perturb
from napari_segxai.engine.question import Question
from napari_segxai.methods.perturbation.misure_descent import EVERY
from napari_segxai.methods.perturbation.misure_options import Options, Settings
from napari_segxai.methods.perturbation.misure_pruning import MINIMAL, Pruning, cell_widths
from napari_segxai.methods.perturbation.other_regions import (
    OTHER_BASELINES,
    SAME,
    another_region,
    needed_windows,
    on_other_baselines,
    overlap,
)
from napari_segxai.methods.perturbation.sufficient_region import Dilation, PredictedObject, sufficient_region
from napari_segxai.methods.registry import Size, explainer

AHEAD = 8  # dilations that are tried in one batch; the stage chosen is the same as one by one

NOISE = 1e-6
"""Deviation of the noise of repeats, as a share of the image's range: below what any camera or scanner resolves."""

NOTHING_TO_PRUNE = 0.98
"""Share of the sufficient region's visible pixels above which nothing was learnt by pruning."""

BELOW_TAU = "pruned below tau"
"""Status of a run that ends with a region which is not sufficient by its own tau."""


def _kernel(options: Settings, grid: tuple[int, ...]) -> int:
    """Width of the dilation kernel: odd, at least 3."""
    width = options.kernel or max(3, round(7 * min(grid) / 224))
    return width if width % 2 else width + 1


def _passes(asked: Options, size: Size) -> Passes:
    options = asked.settings
    grid = size.grid
    size.check("misure", "mask_size", options.mask_size, max(grid))
    size.check("misure", "kernel", options.kernel, max(grid))
    dilations = min(25, max(grid) // (_kernel(options, grid) // 2) + 1)
    if options.max_dilations is not None:
        dilations = min(dilations, options.max_dilations)
    stage_one = Passes(1 + dilations)
    if options.iterations == 0:
        return stage_one
    cells = cell_widths(options.cell, grid)
    elimination, descent = expected_passes(cells), Passes(options.iterations, options.iterations)
    once = {
        "paper": descent,
        "stable": elimination,
        "smallest": elimination + descent + Passes(options.iterations // EVERY),
    }[options.search]
    others = elimination * options.alternatives
    if options.alternatives:
        others = others + Passes(2 * options.alternatives + 30 * (1 + options.alternatives) + 4)
    return stage_one + once * (1 + options.repeats) + others + Passes(2)


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
            "search": "paper",
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
        "fast look": {"alternatives": 0, "repeats": 0},
        "smallest": {"search": "smallest"},
        "sufficient region only": {"iterations": 0},
    },
)
def misure(question: Question, asked: Options) -> Steps[Finding]:
    """Dilate until sufficient, then leave out what can be missed."""
    options = asked.settings
    seen = PredictedObject(question)
    hide = question.hide(options.baseline)
    region = Dilation(seen.pixels, _kernel(options, question.grid))
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
        partial=lambda: sufficient_region(question, region, history, "stopped"),
        largest=AHEAD,
        open_ended=True,
    )
    found = sufficient_region(question, region, history, status)
    if options.iterations == 0:
        return found

    if options.search != "paper" and found.numbers["dice_sufficient"] < options.tau:
        return found  # nothing suffices, so that nothing can be left out

    pruning = Pruning(question, seen, options, found, cell_widths(options.cell, question.grid))
    result = yield from pruning.run(question.input)
    if options.search == "paper":
        yield from _look_once_more(question, seen, options, result)
    yield from _repeat(pruning, result)
    yield from _look_for_others(pruning, result)
    return result


def _look_once_more(
    question: Question, seen: PredictedObject, options: Settings, result: Finding
) -> Steps[None]:
    """Measure what a descent ends with, which nothing holds above tau."""
    hide = question.hide(options.baseline)
    hide_more = question.hide(options.baseline, hide(result.masks["sufficient_region"].float()[None, None]))
    with torch.inference_mode():
        explained = float(seen.dice(question.forward(hide_more(result.map[None, None]))))
    yield question.step("checked")
    result.numbers["dice_explained"] = explained
    if explained < options.tau:
        result.numbers["status"] = BELOW_TAU
    if options.iterations * options.lr < 1 - options.clamp:
        result.warnings.append(
            f"nothing could be pruned: a mask value falls by about lr in a step, so that it takes "
            f"{math.ceil((1 - options.clamp) / options.lr)} iterations or more to remove a pixel."
        )
    if bool(result.masks[MINIMAL].any()) and explained < options.tau:
        result.warnings.append(
            f"the minimal region explains a Dice of {explained:.3f} only, below tau {options.tau:g}, so that it is not "
            "sufficient; lower lr or lam, or trust the sufficient region."
        )


def _showing(steps: Steps[Finding], shown: Finding) -> Steps[Finding]:
    """Run steps that, while they go on, show another result than their own."""
    with closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as ended:
                return ended.value
            yield replace(step, partial=lambda: shown)


def _repeat(pruning: Pruning, result: Finding) -> Steps[None]:
    """Prune again on the image with noise of the last digits: which pixels are left must not hang on them."""
    question, regions = pruning.question, [result.masks[MINIMAL]]
    span = float(question.input.max() - question.input.min())
    for k in range(pruning.options.repeats):
        drawn = np.random.default_rng([question.seed, k]).standard_normal(question.input.shape, np.float32)
        noise = torch.from_numpy(drawn).to(question.device)
        again = yield from _showing(pruning.run(question.input + NOISE * span * noise), result)
        regions.append(again.masks[MINIMAL])
    if len(regions) == 1:
        return
    pairs = [overlap(one, other) for one, other in combinations(regions, 2)]
    agreement = result.numbers["agreement_of_repeats"] = sum(pairs) / len(pairs)
    if agreement < SAME:
        result.warnings.append(
            f"which pixels are left is partly chance: with noise of a millionth of the image's range the regions agree to a "
            f"Dice of {agreement:.2f} only; take the search stable, or look at several runs."
        )


def _look_for_others(pruning: Pruning, result: Finding) -> Steps[None]:
    """Look for other regions that suffice, for what all of them need, and at other baselines; say what is found."""
    question, seen, options = pruning.question, pruning.seen, pruning.options
    if not options.alternatives:
        return
    hide = question.hide(options.baseline)
    regions, dice = [result.masks[MINIMAL]], [result.numbers["dice_explained"]]
    while len(regions) <= options.alternatives and bool(regions[0].any()):
        found = yield from another_region(
            question,
            seen,
            result.masks["sufficient_region"],
            regions,
            tau=options.tau,
            hide=hide,
            cells=pruning.cells,
            partial=lambda: result,
        )
        if found is None:
            break
        regions.append(found.kept)
        dice.append(found.dice)
        result.masks[f"minimally_sufficient_region_{len(regions)}"] = found.kept
    likeness = max((overlap(*pair) for pair in combinations(regions, 2)), default=None)
    least = min((_shared(*pair) for pair in combinations(regions, 2)), default=None)
    result.numbers.update(regions_found=len(regions), agreement_of_regions=likeness, least_shared=least)
    inside, needed, touched = yield from needed_windows(
        question,
        seen,
        torch.stack([result.masks["sufficient_region"], *regions]).any(0),
        tau=options.tau,
        hide=hide,
        partial=lambda: result,
    )
    result.masks["needed_windows"] = inside
    result.numbers.update(windows_needed=needed, windows_tested=touched)
    elsewhere = yield from on_other_baselines(question, seen, [regions[0], result.masks["sufficient_region"]])
    worst = min(elsewhere)
    result.numbers.update(dice_on_other_baseline=worst[0], dice_sufficient_on_other_baseline=worst[1])
    if worst[0] < options.tau <= worst[1]:
        result.warnings.append(
            f"the minimal region depends on what hidden pixels become: before {OTHER_BASELINES[elsewhere.index(worst)]} it "
            f"explains a Dice of {worst[0]:.2f}, the sufficient region {worst[1]:.2f}; part of it may be a pattern that the "
            "filling makes."
        )
    result.numbers["answer"] = _answer(result, dice, likeness, options.tau)


def _shared(one: Tensor, other: Tensor) -> float:
    """Return which share of the smaller of two regions lies in the other."""
    smaller = int(torch.minimum(one.sum(), other.sum()))
    return int((one & other).sum()) / smaller if smaller else 1.0


def left_open(tau: float) -> float:
    """Return which share of their pixels two regions have in common at least, where each pixel is drawn if it is seen and both explain tau.

    Each then keeps k = tau / (2 - tau) of the object, and they share 2k - 1 of it.
    """
    return max(0.0, 3 - 2 / tau)


def _answer(result: Finding, dice: Sequence[float], likeness: float | None, tau: float) -> str:
    """Say in a sentence or two what was found."""
    numbers, least = result.numbers, min(dice)
    if not bool(result.masks[MINIMAL].any()):
        return f"Nothing of the image has to be seen: with all of it hidden the network explains a Dice of {dice[0]:.2f}."
    share = numbers["share_left"]
    if share > NOTHING_TO_PRUNE:
        first = (
            f"Nearly all of the sufficient region ({share:.0%} of its visible pixels) is needed for a Dice of {dice[0]:.2f}; a "
            "lower tau shows what matters most."
        )
    else:
        first = f"{share:.0%} of the visible pixels of the sufficient region explain a Dice of {dice[0]:.2f}, the smallest found."
    needed, touched = numbers["windows_needed"], numbers["windows_tested"]
    if needed == 0:
        what = "no window of what suffices is needed by itself"
    else:
        what = f"{needed} of {touched} windows on what suffices cannot be missed"
    if likeness is None:
        return f"{first} No different region was found; {what}."
    if numbers["least_shared"] >= (allowed := left_open(tau)):
        alike = f"{len(dice)} sets that suffice share {numbers['least_shared']:.0%} of their pixels or more"
        return (
            f"{first} {alike}, and a Dice of {tau:.2f} leaves it open down to {allowed:.0%} which pixels are missed: no different "
            f"reason was found; {what}."
        )
    several = f"Any of several sets of pixels suffices: {len(dice)} found agree to {likeness:.2f}, each explains {least:.2f} or more"
    return f"{first} {several}; {what}."
