"""The second stage of MiSuRe by one of its searches, on the image or on one that hardly differs from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from napari_segxai.core.progress import Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.eliminate import Elimination, eliminate
from napari_segxai.engine.question import Question
from napari_segxai.methods.perturbation.misure_descent import Descent, descend, descend_steered
from napari_segxai.methods.perturbation.misure_options import Settings
from napari_segxai.methods.perturbation.sufficient_region import PredictedObject, visible_pixels

MINIMAL = "minimally_sufficient_region"
"""Name of the mask that pruning ends with."""


def cell_widths(smallest: int | None, grid: Sequence[int]) -> tuple[int, ...]:
    """Return the widths of the cells that are hidden, coarse to fine: 8, 4 and 2 at 128 cells, 4 and 2 in 3D."""
    width = smallest or max(2, round(min(grid) / 64))
    widths = (4 * width, 2 * width, width) if len(grid) == 2 else (2 * width, width)
    return tuple(w for w in widths if w <= max(1, max(grid) // 2)) or (1,)


@dataclass(frozen=True)
class Pruning:
    """How a sufficient region is pruned.

    Attributes
    ----------
    found
        What the first stage found.
    cells
        Widths of the cells that are hidden, coarse to fine.
    """

    question: Question
    seen: PredictedObject
    options: Settings
    found: Finding
    cells: tuple[int, ...]

    @cached_property
    def visible(self) -> Tensor:
        """Which pixels differ from the baseline: boolean (*grid)."""
        return visible_pixels(self.question, self.options.baseline)

    @property
    def sufficient(self) -> Tensor:
        """The region that is pruned: boolean (*grid)."""
        return self.found.masks["sufficient_region"]

    def run(self, image: Tensor) -> Steps[Finding]:
        """Prune the sufficient region of the image, (1, channels, *grid)."""
        if self.options.search == "paper":
            descent = yield from descend(
                self.question, self.seen, self.options, self.sufficient, image, self.report
            )
            return self.report(descent.values, curves={"pruning": _losses(descent)})
        region = yield from self._eliminated(image)
        if self.options.search == "stable":
            return self.report(
                region.kept.float(), region.dice, curves={"pareto": self._pareto(region.tested)}
            )
        descent = yield from descend_steered(
            self.question,
            self.seen,
            self.options,
            self.sufficient,
            image,
            lambda found: self._smaller(region, found),
        )
        return self._smaller(region, descent)

    def _smaller(self, region: Elimination, descent: Descent) -> Finding:
        """Report the smaller of two regions, and the numbers of both."""
        sizes = [self._size(region.kept), self._size(descent.values > 0)]
        numbers = {
            "ratio_elimination": sizes[0],
            "dice_elimination": region.dice,
            "ratio_descent": sizes[1] if descent.dice is not None else None,
            "dice_descent": descent.dice,
        }
        values, dice = region.kept.float(), region.dice
        if descent.dice is not None and sizes[1] < sizes[0]:
            values, dice = descent.values, descent.dice
        curves = {"pareto": self._pareto(region.tested + descent.tested), "pruning": _losses(descent)}
        return self.report(values, dice, numbers, curves)

    def report(
        self,
        values: Tensor,
        dice: float | None = None,
        numbers: dict[str, Any] | None = None,
        curves: dict[str, Any] | None = None,
    ) -> Finding:
        """Add a pruned mask (*grid), and the Dice that it explains, to what the first stage found."""
        values = values * self.sufficient
        kept, found = values > 0, self.found
        size = self.seen.pixels.sum()
        shown = kept & self.visible
        left = shown.sum() / (self.sufficient & self.visible).sum().clamp(min=1)
        in_mask, in_image, share = torch.stack([kept.sum() / size, shown.sum() / size, left]).tolist()
        return Finding(
            map=values,
            masks={**found.masks, MINIMAL: kept},
            stages=found.stages,
            stage_table=found.stage_table,
            curves={**found.curves, **(curves or {})},
            numbers={
                **found.numbers,
                "dice_explained": dice,
                "ratio_mask": in_mask,
                "ratio_image": in_image,
                "share_left": share,
                **(numbers or {}),
            },
            warnings=list(found.warnings),
            why_zero=(
                "pruning removed the whole mask; lower lr or lam."
                if self.options.search == "paper"
                else "the network draws the object with all of the image hidden."
            ),
        )

    def _eliminated(self, image: Tensor) -> Steps[Elimination]:
        question, seen, tau = self.question, self.seen, self.options.tau
        hide = question.hide(self.options.baseline, image)
        start = self.sufficient & self.visible
        with torch.inference_mode():
            dice = float(seen.dice(question.forward(hide(start.float()[None, None]))))
        if dice < tau:  # what equals the baseline is part of what an inpainted image is made of
            start, dice = self.sufficient, self.found.numbers["dice_sufficient"]
        region = Elimination(start, dice, [(int(start.sum()), dice)])
        yield from eliminate(
            question,
            region,
            tau,
            hide=hide,
            dice=seen.dice,
            soft_dice=seen.soft_agreement,
            cells=self.cells,
            note="stage 2, cells",
            partial=lambda: self.report(region.kept.float(), region.dice),
        )
        return region

    def _size(self, region: Tensor) -> float:
        return float((region & self.visible).sum() / self.seen.pixels.sum())

    def _pareto(self, tested: Sequence[tuple[int, float]]) -> dict[str, list[float]]:
        """Return the regions that no tested one beats in both: pixels per pixel of the object, and Dice."""
        size = int(self.seen.pixels.sum())
        best: list[tuple[float, float]] = []
        for cells, dice in sorted(tested, key=lambda one: (one[0], -one[1])):
            if not best or dice > best[-1][1]:
                best.append((cells / size, dice))
        return {"ratio": [one[0] for one in best], "dice": [one[1] for one in best]}


def _losses(descent: Descent) -> dict[str, list[float]]:
    return {"iteration": list(range(1, len(descent.losses) + 1)), "loss": descent.losses}
