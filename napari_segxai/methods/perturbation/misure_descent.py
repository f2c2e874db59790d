"""The second stage of MiSuRe: the sufficient region as a mask that descends by its gradient, with a lambda fixed or steered."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_segxai.core.progress import Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.enlargement import LinearEnlargement
from napari_segxai.engine.primitives.optimize import optimize
from napari_segxai.engine.primitives.optimizers import AdamW
from napari_segxai.engine.primitives.regularizers import SizeAndVariation
from napari_segxai.engine.question import Question
from napari_segxai.methods.perturbation.misure_options import Settings
from napari_segxai.methods.perturbation.sufficient_region import PredictedObject

EVERY = 4
"""Steps between two looks at the region, after which lambda is steered."""

UP, DOWN = math.exp(0.4), math.exp(-0.8)
"""What lambda is multiplied by when the region suffices, and when it does not."""


@dataclass
class Descent:
    """Where a descent ends.

    Attributes
    ----------
    values
        (*grid) in [0, 1]: the mask; of a steered descent the smallest region that sufficed, 1 and 0.
    losses
        Before every step.
    dice
        The Dice of a steered descent's region.
    tested
        Pixels and Dice of every region that was tested.
    """

    values: Tensor
    losses: list[float]
    dice: float | None = None
    tested: list[tuple[int, float]] = field(default_factory=list)


def descend(
    question: Question,
    seen: PredictedObject,
    options: Settings,
    sufficient: Tensor,
    image: Tensor,
    report: Callable[[Tensor], Finding],
) -> Steps[Descent]:
    """Prune as the paper does, with a fixed lambda; what is left may explain less than tau.

    Parameters
    ----------
    sufficient
        Boolean (*grid): the region that is pruned.
    image
        (1, channels, *grid): what the network sees of it.
    report
        Makes a partial result of the mask's values (*grid).
    """
    mask, spread, inputs, loss, after = _set_up(question, seen, options, sufficient, image)
    losses = yield from optimize(
        question,
        mask,
        inputs,
        loss,
        iterations=options.iterations,
        descent=partial(AdamW, lr=options.lr, weight_decay=options.weight_decay),
        after=after,
        price=SizeAndVariation(mask, options.lam, options.gamma, options.beta),
        note="stage 2, pruning",
        partial=lambda: report(spread(mask.detach())[0, 0]),
    )
    return Descent(spread(mask.detach())[0, 0], losses.tolist())


def descend_steered(
    question: Question,
    seen: PredictedObject,
    options: Settings,
    sufficient: Tensor,
    image: Tensor,
    report: Callable[[Descent], Finding],
) -> Steps[Descent]:
    """Prune with a lambda that grows while the region suffices and falls when it does not.

    It is a share of the region instead of the image, so that small objects are pruned as large ones are. The mask's values
    do not count: what is not 0 is shown whole. The smallest region that sufficed is returned; `sufficient` if none did.

    Parameters
    ----------
    report
        Makes a partial result of what is found so far.
    """
    mask, spread, inputs, loss, after = _set_up(question, seen, options, sufficient, image)
    price = SizeAndVariation(
        mask, options.lam * mask.numel() / max(1.0, float(mask.sum())), options.gamma, options.beta
    )
    rule = AdamW(mask, options.lr, options.weight_decay)
    best = Descent(sufficient.float(), [], None)
    fewest = int(sufficient.sum())
    hide = question.hide(options.baseline, image)
    losses: list[float] = []
    while len(losses) < options.iterations:
        steps = min(EVERY, options.iterations - len(losses))
        found = yield from optimize(
            question,
            mask,
            inputs,
            loss,
            iterations=steps,
            descent=lambda _: rule,
            after=after,
            price=price,
            note=f"descent, after {len(losses)} of {options.iterations}: step",
            partial=lambda: report(best),
        )
        losses.extend(found.tolist())
        kept = spread(mask.detach())[0, 0] * sufficient > 0
        with torch.inference_mode():
            value = float(seen.dice(question.forward(hide(kept.float()[None, None]))))
        size = int(kept.sum())
        best.tested.append((size, value))
        if value >= options.tau and size < fewest:
            best.values, best.dice, fewest = kept.float(), value, size
        price.price *= UP if value >= options.tau else DOWN
        yield question.step(
            f"descent, {len(losses)} of {options.iterations}: region tested", lambda: report(best)
        )
    best.losses = losses
    return best


def _set_up(
    question: Question, seen: PredictedObject, options: Settings, sufficient: Tensor, image: Tensor
) -> tuple[
    Tensor,
    Callable[[Tensor], Tensor],
    Callable[[Tensor], Tensor],
    Callable[[Tensor, Tensor], Tensor],
    Callable[[Tensor], None],
]:
    """Return the mask, what brings it to the grid, the network's input of it, the loss, and what follows every step."""
    hide = question.hide(options.baseline, image)
    hide_more = question.hide(options.baseline, hide(sufficient.float()[None, None]))
    mask = _initial_mask(sufficient, options.mask_size)
    enlarge = LinearEnlargement(mask.shape[2:], question.grid, mask.device)

    def spread(values: Tensor) -> Tensor:
        return values if values.shape[2:] == sufficient.shape else enlarge(values)

    alphas = torch.tensor([options.alpha_label, options.alpha_background], device=question.device)

    def loss(_: Tensor, logits: Tensor) -> Tensor:
        return 1 - seen.soft_dice(logits, alphas)

    below = math.nextafter(options.clamp, -1)  # what equals the clamp stays

    def after(values: Tensor) -> None:
        F.threshold(values.clamp_(max=1), below, 0.0, inplace=True)

    return mask, spread, lambda values: hide_more(spread(values)), loss, after


def _initial_mask(sufficient: Tensor, size: int | None) -> Tensor:
    """Return the sufficient region at the size of the mask: (1, 1, *mask grid) of ones and zeros."""
    grid = sufficient.shape
    longest = size or (max(grid) if len(grid) == 2 else max(grid) // 2)
    shape = [max(1, round(n * min(1.0, longest / max(grid)))) for n in grid]
    values = sufficient.float()[None, None]
    if tuple(shape) == tuple(grid):
        return values.clone()
    return {2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}[len(grid)](values, shape)
