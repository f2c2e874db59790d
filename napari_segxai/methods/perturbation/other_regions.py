"""How far a sufficient region is the only one: others that suffice, what all of them need, and another baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from napari_segxai.core.progress import Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import Hide, hide_behind
from napari_segxai.engine.primitives.eliminate import Elimination, eliminate
from napari_segxai.engine.primitives.perturb import perturb
from napari_segxai.engine.question import Question
from napari_segxai.methods.perturbation.sufficient_region import PredictedObject

SAME = 0.9
"""Dice of two regions above which they count as one."""

OTHER_BASELINES = ("the image's mean", "half of the image's maximum")
"""What else hidden pixels become, in words."""

WINDOWS = {2: 8, 3: 4}
"""Windows per side of the grid, by dimension; they overlap by half."""


def overlap(one: Tensor, other: Tensor) -> float:
    """Return the Dice of two regions, boolean (*grid); two empty ones agree."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def another_region(
    question: Question,
    seen: PredictedObject,
    sufficient: Tensor,
    earlier: Sequence[Tensor],
    *,
    tau: float,
    hide: Hide,
    cells: Sequence[int],
    partial: Callable[[], Finding],
) -> Steps[Elimination | None]:
    """Look for a region that does without the pixels of earlier ones, as far as that is possible.

    It begins with the rest of the sufficient region, else with the rest of the image, each without and then with the object
    itself, else with the whole sufficient region. Earlier pixels are hidden first.

    Returns
    -------
    Elimination or None
        None where nothing different suffices.
    """
    note = f"region {len(earlier) + 1}"
    used = torch.stack(list(earlier)).any(0)
    rest, own = ~used, seen.pixels
    starts = torch.stack([sufficient & rest, sufficient & (rest | own), rest, rest | own, sufficient])
    found: list[Elimination] = []

    def judge(start: int, masks: Tensor, logits: Tensor) -> bool:
        for k, value in enumerate(seen.dice(logits).tolist()):
            if value >= tau:
                found.append(Elimination(starts[start + k], value))
                return True
        return False

    yield from perturb(
        question,
        len(starts),
        lambda start, n: starts[start : start + n, None].float(),
        judge,
        hide=hide,
        note=f"{note}: beginning",
        partial=partial,
        largest=1,
    )
    if not found:
        return None
    region = found[0]
    yield from eliminate(
        question,
        region,
        tau,
        hide=hide,
        dice=seen.dice,
        soft_dice=seen.soft_agreement,
        cells=cells,
        note=note,
        before=used,
        partial=partial,
    )
    return region if all(overlap(region.kept, one) < SAME for one in earlier) else None


def needed_windows(
    question: Question,
    seen: PredictedObject,
    region: Tensor,
    *,
    tau: float,
    hide: Hide,
    partial: Callable[[], Finding],
) -> Steps[tuple[Tensor, int, int]]:
    """Find the windows without which a sufficient region does not suffice any more.

    Single cells are no test: of a patch that is needed by its mean, each can be missed.

    Returns
    -------
    tuple
        What of the region lies in them, boolean (*grid); how many they are; and of how many that touch it.
    """
    windows = [window for window in _windows(question.grid) if bool(region[window].any())]
    needed = []

    def without(start: int, n: int) -> Tensor:
        masks = region.float().repeat(n, 1, *(1,) * region.ndim)
        for mask, window in zip(masks, windows[start : start + n], strict=True):
            mask[(0, *window)] = 0
        return masks

    def judge(start: int, _: Tensor, logits: Tensor) -> None:
        values = seen.dice(logits).tolist()
        needed.extend(windows[start + k] for k, value in enumerate(values) if value < tau)

    yield from perturb(
        question, len(windows), without, judge, hide=hide, note="needed windows:", partial=partial
    )
    inside = torch.zeros_like(region)
    for window in needed:
        inside[window] = region[window]
    return inside, len(needed), len(windows)


def _windows(grid: Sequence[int]) -> list[tuple[slice, ...]]:
    """Return windows that cover the grid and overlap by half."""
    axes = []
    for n in grid:
        side = max(2, -(-n // WINDOWS[len(grid)]))
        last = max(0, n - side)
        starts = sorted({*range(0, last + 1, max(1, side // 2)), last})
        axes.append([slice(start, start + side) for start in starts])
    return list(product(*axes))


def on_other_baselines(
    question: Question, seen: PredictedObject, regions: Sequence[Tensor]
) -> Steps[list[list[float]]]:
    """Measure the Dice that regions explain where hidden pixels become the image's mean, and half its maximum.

    Returns
    -------
    list of list of float
        Per baseline, per region.
    """
    dims = tuple(range(2, question.input.ndim))
    baselines = [question.baseline("mean"), question.input.amax(dims, keepdim=True) / 2]
    masks = torch.stack(list(regions))[:, None].float()
    values: list[list[float]] = []
    for baseline in baselines:
        behind = hide_behind(question.input, baseline)
        found: list[float] = []
        yield from perturb(
            question,
            len(masks),
            lambda start, n: masks[start : start + n],
            lambda start, _, logits, found=found: found.extend(seen.dice(logits).tolist()),
            hide=behind,
            note="another baseline:",
        )
        values.append(found)
    return values
