"""Planning a sweep: what is asked is checked, and what it will cost is known, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from torch import nn

from napari_segxai.analyses.compare.measuring import Measuring
from napari_segxai.analyses.compare.plan import ComparisonPlan, MethodSpec, read_method
from napari_segxai.analyses.sweep.controls import OWN_DICE
from napari_segxai.analyses.sweep.values import combinations, each_once
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.options import make_options
from napari_segxai.core.progress import Passes
from napari_segxai.core.target import Target
from napari_segxai.methods.registry import find_method
from napari_segxai.metrics.evaluation import Options
from napari_segxai.models.segmentation import SegmentationModel

TOGETHER = 8
"""Combinations that are explained side by side: each keeps its masks and maps in memory."""

MOST_COMBINATIONS = 10_000
"""Of the values of a sweep."""


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that has been checked and can be run; it runs nothing.

    Attributes
    ----------
    method : str
        Its name.
    fixed, grid : mapping
        Its parameters that stay the same, and those that are swept with their values.
    comparison : ComparisonPlan
        The comparison of all combinations.
    """

    method: str
    fixed: Mapping[str, Any]
    grid: Mapping[str, Sequence[Any]]
    comparison: ComparisonPlan

    @classmethod
    def make(
        cls,
        model: SegmentationModel | nn.Module | str | Path,
        image: Image | np.ndarray,
        target: Target | str | int,
        method: MethodSpec,
        grid: Mapping[str, Sequence[Any]],
        **measuring: Unpack[Measuring],
    ) -> SweepPlan:
        """Check everything that can be checked without running the network; see `sweep`.

        Raises
        ------
        UserError
            For anything that was asked wrongly.
        """
        if not 1 <= len(grid) <= 2 or any(isinstance(v, str) or not len(list(v)) for v in grid.values()):
            raise UserError("a sweep takes one or two parameters, each with a list of values.")
        if "controls" in measuring:
            raise UserError("a sweep measures no random orders; leave controls out.")
        values = {name: list(given) for name, given in grid.items()}
        name, fixed = read_method(method)
        for parameter in values:
            if parameter in fixed:
                raise UserError(
                    f"{parameter} is swept, so that it cannot stay {fixed[parameter]!r}; leave it out."
                )
        count = math.prod(map(len, values.values()))
        if count > MOST_COMBINATIONS:
            raise UserError(
                f"{count} combinations are too many for one sweep; at most {MOST_COMBINATIONS} are run."
            )
        for parameter in find_method(name, "image").parameters:
            if parameter.name in values:
                each_once(parameter, values[parameter.name], name)
        methods = [(name, {**fixed, **combination}) for combination in combinations(values)]
        comparison = ComparisonPlan.make(model, image, target, methods, controls=0, **measuring)
        return cls(name, fixed, values, replace(comparison, together=TOGETHER))

    @property
    def passes(self) -> Passes:
        """The passes that are expected, at most: combinations share those that they have in common."""
        return self.comparison.passes + self.control_passes

    @property
    def control_passes(self) -> Passes:
        """The passes that random masks take beside the Dice that the method tells of itself."""
        own = len(OWN_DICE.get(self.method, ())) if self.draws else 0
        return Passes(bool(own) + own * self.draws * len(self.comparison.explanations))

    @property
    def draws(self) -> int:
        """The random maps that are measured beside each."""
        return make_options(Options, self.comparison.options, "evaluate").chance
