"""Sweeps: one method over a grid of two parameters (Hasany et al. 2026, tables 2 to 6)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.comparing import plan_comparison
from napari_segxai.comparison import Comparison
from napari_segxai.engine.passes import Step, Steps, finish
from napari_segxai.errors import UserError

TOGETHER = 8
"""Combinations that are explained side by side: each keeps its masks and maps in memory."""


@dataclass(frozen=True)
class Sweep:
    """One method over a grid of parameter values.

    Attributes
    ----------
    method
        Its name.
    grid
        One or two parameters and their values, rows first.
    comparison
        A map per combination, in the order of the grid.
    """

    method: str
    grid: Mapping[str, Sequence[Any]]
    comparison: Comparison

    def values(self, metric: str) -> np.ndarray:
        """Return a metric's numbers, (rows, columns); NaN where undefined. One parameter makes one row."""
        found = [self.comparison.value(name, metric) for name in self.comparison.maps]
        shape = [len(values) for values in self.grid.values()]
        array = np.array([np.nan if value is None else value for value in found], float)
        return array.reshape(shape if len(shape) == 2 else (1, *shape))

    def result(self, name: str) -> np.ndarray:
        """Return a number of the method's own, such as ratio_image of misure; NaN where there is none."""
        found = [e.record.results.get(name) for e in self.comparison.explanations.values()]
        shape = [len(values) for values in self.grid.values()]
        array = np.array([value if isinstance(value, int | float) else np.nan for value in found], float)
        return array.reshape(shape if len(shape) == 2 else (1, *shape))

    def save(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write table.csv with a row per combination, and heat.png with the best marked.

        Raises
        ------
        UserError
            If the folder already holds a sweep.
        """
        from napari_segxai.io.sweep_files import save_sweep

        return save_sweep(self, Path(folder), overwrite=overwrite)


def sweep(
    model: Any,
    image: Any,
    target: Any,
    method: str,
    grid: Mapping[str, Sequence[Any]],
    *,
    progress: Callable[[Step], None] | None = None,
    **options: Any,
) -> Sweep:
    """Explain and measure with every combination of the values of one or two parameters.

    Parameters
    ----------
    grid
        E.g. ``{"lr": [0.001, 0.01, 0.1], "lam": [0.001, 0.01, 0.1]}``.
    **options
        As for `compare`: truth, metrics, seed, device, slice, and parameters of the metrics.

    Raises
    ------
    UserError
        For anything that was asked wrongly.
    """
    return finish(sweep_steps(model, image, target, method, grid, **options), progress)


def sweep_steps(
    model: Any, image: Any, target: Any, method: str, grid: Mapping[str, Sequence[Any]], **options: Any
) -> Steps[Sweep]:
    """`sweep`, one step at a time; what is wrong with the question is raised at the call."""
    if not 1 <= len(grid) <= 2 or any(isinstance(v, str) or not len(list(v)) for v in grid.values()):
        raise UserError("a sweep takes one or two parameters, each with a list of values.")
    values = {name: list(given) for name, given in grid.items()}
    combinations = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
    methods = [(method, combination) for combination in combinations]
    plan = plan_comparison(model, image, target, methods, controls=0, **options)
    return _sweep(method, values, replace(plan, together=TOGETHER).steps())


def _sweep(method: str, grid: Mapping[str, Sequence[Any]], steps: Steps[Comparison]) -> Steps[Sweep]:
    comparison = yield from steps
    return Sweep(method, grid, comparison)
