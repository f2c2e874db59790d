"""The cells of a region that can be hidden, found from coarse to fine: backward elimination, every step of it tested.

Cells are ranked by the gradient of a soft Dice; the weakest half is hidden, or the weakest quarter, eighth, ... until the
rest suffices; what is left is ranked anew. In the end groups of cells are tried, and those that fail are split. The
gradient proposes alone: what is hidden was tested, so that the result suffices whatever the gradient is worth. No
random number is drawn, and a change of the image in the last digits does not decide which of two equal parts is left,
as it does where a mask descends by its gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import Hide
from napari_segxai.engine.primitives.input_gradients import input_gradients
from napari_segxai.engine.primitives.perturb import perturb
from napari_segxai.engine.question import Question

STRENGTHS = (0.25, 0.5, 0.75, 1.0)
"""How much of the region is shown while its cells are ranked: a network that is sure of its object is flat at 1."""

SHARES = tuple(0.5**k for k in range(1, 7))
"""The shares of the cells that are hidden at once, tried one after the other."""

ENOUGH = 0.02
"""A step that hides a smaller share of the cells is the last before groups are tried."""

GROUP_TESTS = 80
"""Groups that are tried, of the smallest cells alone: coarse groups use up what may still be hidden for little."""

AHEAD = 2
"""Regions that are tested in one batch: most often one of the first two suffices."""


@dataclass
class Elimination:
    """A region that is being made smaller.

    Attributes
    ----------
    kept
        Boolean (*grid).
    dice
        The Dice that `kept` explains.
    tested
        Pixels and Dice of every region that was tested.
    """

    kept: Tensor
    dice: float
    tested: list[tuple[int, float]] = field(default_factory=list)


def expected_passes(cells: Sequence[int]) -> Passes:
    """Return the passes that an elimination takes with cells of so many sizes, as a rule."""
    ranked = len(cells) * 3 * len(STRENGTHS)
    return Passes(ranked + 9 * len(cells) + GROUP_TESTS, ranked)


def eliminate(
    question: Question,
    region: Elimination,
    sufficient: float,
    *,
    hide: Hide,
    dice: Callable[[Tensor], Tensor],
    soft_dice: Callable[[Tensor], Tensor],
    cells: Sequence[int],
    note: str,
    before: Tensor | None = None,
    partial: Callable[[], Finding] | None = None,
) -> Steps[None]:
    """Make `region` smaller, in place, as long as it explains a Dice of `sufficient`.

    Parameters
    ----------
    region
        What is known to suffice.
    hide
        Makes inputs of masks; see `Question.hide`.
    dice, soft_dice
        Logits (n, labels, *grid) -> (n,): what decides, and what cells are ranked by, which is differentiable.
    cells
        Widths of the cells, coarse to fine, in cells of the model grid.
    before
        Boolean (*grid): pixels that are tried before all others, such as those of a region that was found earlier.
    note, partial
        What steps report.

    References
    ----------
    Guyon, Weston, Barnhill, Vapnik, "Gene selection for cancer classification using support vector machines", Machine
    Learning 2002, for backward elimination by ranks that are computed anew.
    """
    for width in cells:
        where = _cells(question, width)
        while True:
            order = yield from _ranked(question, region.kept, where, hide, soft_dice, before, note, partial)
            counts = list(dict.fromkeys(round(len(order) * share) or 1 for share in SHARES if len(order)))
            hidden = yield from _hide_first(
                question, region, where, [order[:n] for n in counts], sufficient, hide, dice, note, partial
            )
            if hidden is None or len(hidden) < ENOUGH * len(order):
                break
    yield from _try_groups(question, region, where, order, sufficient, hide, dice, note, partial)


def _cells(question: Question, width: int) -> Tensor:
    """Return the number of the cell that each pixel lies in: (*grid), whole numbers."""
    numbers = torch.zeros((), dtype=torch.long, device=question.device)
    for axis, n in enumerate(question.grid):
        place = torch.arange(n, device=question.device) // width
        shape = [1] * len(question.grid)
        shape[axis] = n
        numbers = numbers * (-(-n // width)) + place.view(shape)
    return numbers


def _ranked(
    question: Question,
    kept: Tensor,
    where: Tensor,
    hide: Hide,
    soft_dice: Callable[[Tensor], Tensor],
    before: Tensor | None,
    note: str,
    partial: Callable[[], Finding] | None,
) -> Steps[Tensor]:
    """Return the numbers of the cells that hold something, those first that seem to matter least."""
    shown = kept.float()[None, None]
    strengths = torch.tensor(STRENGTHS, device=question.device)
    total = torch.zeros_like(shown[0, 0])

    def masks(start: int, n: int) -> Tensor:
        return strengths[start : start + n].view(n, 1, *(1,) * kept.ndim) * shown

    def add(start: int, gradients: Tensor, _: Tensor) -> None:
        with torch.inference_mode(False), torch.enable_grad():
            leaf = masks(start, len(gradients)).clone().requires_grad_(True)
            (slopes,) = torch.autograd.grad(hide(leaf), [leaf], gradients.clone())
        total.add_((slopes.detach() * leaf.detach()).sum((0, 1)))

    yield from input_gradients(
        question,
        len(STRENGTHS),
        lambda start, n: hide(masks(start, n)),
        add,
        note=f"{note}: ranking",
        partial=partial,
        score=soft_dice,
    )
    inside = where[kept]
    count = torch.bincount(inside, minlength=int(where.max()) + 1)
    worth = torch.zeros(len(count), dtype=torch.float64, device=kept.device)
    worth.index_add_(0, inside, total[kept].double())
    if before is not None:  # the share of a cell that was in an earlier region decides first
        earlier = torch.bincount(where[kept & before], minlength=len(count))
        worth = worth / count.clamp(min=1)
        span = float(worth.max() - worth.min()) + 1
        worth = (worth - 2 * span * earlier / count.clamp(min=1)) * count
    filled = torch.nonzero(count)[:, 0]
    return filled[torch.argsort(worth[filled] / count[filled], stable=True)]


def _hide_first(
    question: Question,
    region: Elimination,
    where: Tensor,
    groups: Sequence[Tensor],
    sufficient: float,
    hide: Hide,
    dice: Callable[[Tensor], Tensor],
    note: str,
    partial: Callable[[], Finding] | None,
) -> Steps[Tensor | None]:
    """Hide the first of these groups of cells without which the region suffices, and return it."""
    found: list[Tensor] = []

    def without(start: int, n: int) -> Tensor:
        masks = [region.kept & ~torch.isin(where, group) for group in groups[start : start + n]]
        return torch.stack(masks)[:, None].float()

    def judge(start: int, masks: Tensor, logits: Tensor) -> bool:
        for k, (value, size) in enumerate(
            zip(dice(logits).tolist(), masks.flatten(1).sum(1).tolist(), strict=True)
        ):
            region.tested.append((round(size), value))
            if value >= sufficient:
                region.kept, region.dice = masks[k, 0] > 0, value
                found.append(groups[start + k])
                return True
        return False

    if groups:
        yield from perturb(
            question,
            len(groups),
            without,
            judge,
            hide=hide,
            note=f"{note}: test",
            partial=partial,
            largest=AHEAD,
            open_ended=True,
        )
    return found[0] if found else None


def _try_groups(
    question: Question,
    region: Elimination,
    where: Tensor,
    order: Tensor,
    sufficient: float,
    hide: Hide,
    dice: Callable[[Tensor], Tensor],
    note: str,
    partial: Callable[[], Finding] | None,
) -> Steps[None]:
    """Hide groups of cells that can be missed, the weakest first; one that cannot is split."""
    held = torch.unique(where[region.kept])
    order = order[torch.isin(order, held)]
    waiting = list(reversed(order.tensor_split(2))) if len(order) > 1 else [order]
    tests = 0
    while waiting and tests < GROUP_TESTS:
        group = waiting.pop()
        if not len(group):
            continue
        hidden = yield from _hide_first(
            question, region, where, [group], sufficient, hide, dice, note, partial
        )
        tests += 1
        if hidden is None and len(group) > 1:
            waiting.extend(reversed(group.tensor_split(2)))
