"""Sweeps: one method over a grid of two parameters (Hasany et al. 2026, tables 2 to 6)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_segxai.analyses.compare.result import Comparison
from napari_segxai.analyses.compare.run import MethodSpec, Plan, plan_comparison, read_method
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.sweep.controls import random_masks
from napari_segxai.core.errors import UserError
from napari_segxai.core.options import Parameter, make_options
from napari_segxai.core.progress import Passes, Step, Steps, finish, relay
from napari_segxai.methods.registry import find_method
from napari_segxai.metrics.evaluation import Options
from napari_segxai.metrics.functional.chance import Chance
from napari_segxai.metrics.functional.ties import above, tied

TOGETHER = 8
"""Combinations that are explained side by side: each keeps its masks and maps in memory."""

BETTER: Mapping[str, Literal["higher", "lower"]] = {
    "dice_explained": "higher",
    "ratio_mask": "lower",
    "ratio_image": "lower",
    "dice_sufficient": "higher",
    "ratio_sufficient": "lower",
    "r_squared": "higher",
}
"""Of the numbers that methods tell of themselves: those that have a better end, the most telling first."""

OWN_DICE: Mapping[str, Mapping[str, Callable[[Explanation], np.ndarray]]] = {
    "misure": {
        "dice_explained": lambda found: found.map,
        "dice_sufficient": lambda found: found.masks["sufficient_region"],
    }
}
"""By method: those of its own numbers that are a Dice explained, and by which mask."""


@dataclass(frozen=True)
class Number:
    """What a sweep knows of every combination.

    Attributes
    ----------
    name
        Of a metric ("dice-explained"), or of a result of the method's own ("dice_explained").
    title
        For people.
    better
        "higher", "lower", or None where neither is, or where it is not known.
    own
        Whether the method tells it, rather than a metric.
    """

    name: str
    title: str
    better: Literal["higher", "lower"] | None
    own: bool


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
        A map per combination, in the order of the grid; of a sweep that was stopped, the first ones alone.
    own_chance
        By map and number of the method's own: what random masks of the same area explain.
    """

    method: str
    grid: Mapping[str, Sequence[Any]]
    comparison: Comparison
    own_chance: Mapping[tuple[str, str], Chance] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns. One parameter makes one row."""
        counts = [len(values) for values in self.grid.values()]
        return (counts[0], counts[1]) if len(counts) == 2 else (1, counts[0])

    @property
    def combinations(self) -> list[dict[str, Any]]:
        """The values of the parameters, row by row."""
        return _combinations(self.grid)

    @property
    def numbers(self) -> list[Number]:
        """What there is to show: the method's own numbers that have a better end, the metrics, its other numbers."""
        title = find_method(self.method).title
        names = dict.fromkeys(name for found in self.own_numbers for name in found)
        own = [
            Number(name, f"{title}: {name.replace('_', ' ')}", BETTER.get(name), True)
            for name in names
            if name not in self.grid
        ]
        measured = [
            Number(metric.name, metric.title, metric.better, False)
            for metric in (self.comparison.metrics if self.comparison.rows else ())
        ]
        first = sorted((number for number in own if number.better), key=lambda n: list(BETTER).index(n.name))
        return [*first, *measured, *(number for number in own if not number.better)]

    @property
    def own_numbers(self) -> list[dict[str, float]]:
        """What the method tells of itself in numbers, a dict per map; what is undefined is left out."""
        return [
            {name: value for name, value in explanation.record.results.items() if _is_number(value)}
            for explanation in self.comparison.explanations.values()
        ]

    def array(self, number: Number) -> np.ndarray:
        """Return `values` or `result`, whichever the number is."""
        return self.result(number.name) if number.own else self.values(number.name)

    def values(self, metric: str) -> np.ndarray:
        """Return a metric's numbers, (rows, columns); NaN where undefined. One parameter makes one row."""
        if not self.comparison.rows:
            return self._table([])
        return self._table([self.comparison.value(name, metric) for name in self.comparison.maps])

    def result(self, name: str) -> np.ndarray:
        """Return a number of the method's own, such as ratio_image of misure; NaN where there is none."""
        return self._table([found.get(name) for found in self.own_numbers])

    def chance(self, number: Number) -> list[tuple[float, float] | None]:
        """Return what random maps of the same area reach, per map: mean and 95th percentile; None where not measured."""
        names = list(self.comparison.maps)
        if number.own:
            found = [self.own_chance.get((name, number.name)) for name in names]
            return [None if one is None else (one.mean, one.high) for one in found]
        measured = names if self.comparison.rows else []
        return [self.comparison.chance(name, number.name) for name in measured]

    def chance_cells(self, number: Number) -> np.ndarray:
        """Tell in which cells a map is no better than random maps of the same area: boolean (rows, columns)."""
        highs = self._table([None if level is None else level[1] for level in self.chance(number)])
        values = self.array(number)
        known = np.isfinite(highs) & np.isfinite(values)
        return known & ~above(np.where(known, values, 0), np.where(known, highs, 0))

    def _table(self, found: Sequence[float | None]) -> np.ndarray:
        rows, columns = self.shape
        array = np.full(rows * columns, np.nan)
        array[: len(found)] = [np.nan if value is None else value for value in found]
        return array.reshape(rows, columns)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write table.csv with a row per combination, and heat.png with the best marked.

        Raises
        ------
        UserError
            If the folder already holds results and `overwrite` is False, or cannot be written, or nothing was found before it was stopped.
        """
        from napari_segxai.analyses.sweep.files import save_sweep

        return save_sweep(self, Path(folder), overwrite=overwrite)


def best_cells(values: np.ndarray, better: Literal["higher", "lower"] | None) -> np.ndarray:
    """Tell which cells hold the best number: all of them, where several do.

    Parameters
    ----------
    values
        Any shape; NaN and infinities are undefined and never the best.
    better
        None: no end is better, so that no cell is the best.

    Returns
    -------
    numpy.ndarray
        Boolean, of the same shape.
    """
    known = np.isfinite(values)
    if better is None or not known.any():
        return np.zeros(values.shape, bool)
    best = values[known].max() if better == "higher" else values[known].min()
    return known & tied(np.where(known, values, np.inf), best)


MOST_COMBINATIONS = 10_000
"""Of the values of a sweep."""


def sweep(
    model: Any,
    image: Any,
    target: Any,
    method: MethodSpec,
    grid: Mapping[str, Sequence[Any]],
    *,
    progress: Callable[[Step], None] | None = None,
    **options: Any,
) -> Sweep:
    """Explain and measure with every combination of the values of one or two parameters.

    Parameters
    ----------
    method
        Its name; with parameters that stay the same as in "misure:iterations=40" or ("misure", {"iterations": 40}).
    grid
        E.g. ``{"lr": [0.001, 0.01, 0.1], "lam": [0.001, 0.01, 0.1]}``.
    **options
        As for `compare`: truth, metrics, seed, device, slice, axis, and parameters of the metrics.

    Raises
    ------
    UserError
        For anything that was asked wrongly.
    """
    return finish(sweep_steps(model, image, target, method, grid, **options), progress)


def sweep_steps(
    model: Any,
    image: Any,
    target: Any,
    method: MethodSpec,
    grid: Mapping[str, Sequence[Any]],
    **options: Any,
) -> Steps[Sweep]:
    """`sweep`, one step at a time; what is wrong with the question is raised at the call.

    ``step.partial()`` gives the sweep so far.
    """
    return plan_sweep(model, image, target, method, grid, **options).steps()


def plan_sweep(
    model: Any,
    image: Any,
    target: Any,
    method: MethodSpec,
    grid: Mapping[str, Sequence[Any]],
    **options: Any,
) -> SweepPlan:
    """Check a sweep and say what it costs, without running anything; see `sweep`.

    Raises
    ------
    UserError
        For anything that was asked wrongly.
    """
    if not 1 <= len(grid) <= 2 or any(isinstance(v, str) or not len(list(v)) for v in grid.values()):
        raise UserError("a sweep takes one or two parameters, each with a list of values.")
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
            f"{count} combinations are too many for one sweep; {MOST_COMBINATIONS} at most are run."
        )
    for parameter in find_method(name).parameters:
        if parameter.name in values:
            _each_once(parameter, values[parameter.name], name)
    methods = [(name, {**fixed, **combination}) for combination in _combinations(values)]
    plan = plan_comparison(model, image, target, methods, controls=0, **options)
    return SweepPlan(name, fixed, values, replace(plan, together=TOGETHER))


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that has been checked and can be run.

    Attributes
    ----------
    method, fixed, grid
        The method, its parameters that stay the same, and those that are swept.
    comparing
        The comparison of all combinations.
    """

    method: str
    fixed: Mapping[str, Any]
    grid: Mapping[str, Sequence[Any]]
    comparing: Plan

    @property
    def passes(self) -> Passes:
        """The passes that are expected, at most: combinations share those that they have in common."""
        return self.comparing.passes + self._control

    @property
    def _control(self) -> Passes:
        """The passes that random masks take beside the Dice that the method tells of itself."""
        own = len(OWN_DICE.get(self.method, ())) if self._draws else 0
        return Passes(bool(own) + own * self._draws * len(self.comparing.jobs))

    @property
    def _draws(self) -> int:
        return make_options(Options, self.comparing.options, "evaluate").chance

    def steps(self) -> Steps[Sweep]:
        """Run; see `sweep_steps`."""
        more = self._control.cost

        def swept(step: Step) -> Step:
            so_far = step.partial and partial(self._so_far, step.partial)
            return replace(step, total=step.total + more, partial=so_far)

        comparison = yield from relay(self.comparing.steps(), swept)
        found = Sweep(self.method, self.grid, comparison)
        before = self.comparing.passes.cost

        def controlled(step: Step) -> Step:
            return Step(min(before + step.done, before + more), before + more, step.note, lambda: found)

        own_chance = yield from relay(self._own_chance(comparison), controlled)
        return replace(found, own_chance=own_chance)

    def _own_chance(self, comparison: Comparison) -> Steps[dict[tuple[str, str], Chance]]:
        """Measure random masks beside the Dice that the method tells of itself."""
        masks: dict[Any, dict[tuple[str, str], np.ndarray]] = {}  # by baseline, which may be swept
        for name, found in comparison.explanations.items():
            for number, mask in OWN_DICE.get(self.method, {}).items():
                if _is_number(found.record.results.get(number)):
                    masks.setdefault(found.record.parameters["baseline"], {})[name, number] = mask(found)
        out: dict[tuple[str, str], Chance] = {}
        for baseline, some in (masks if self._draws else {}).items():
            out |= yield from random_masks(self.comparing.job, some, baseline, self._draws)
        return out

    def _so_far(self, comparison: Callable[[], Comparison]) -> Sweep:
        return Sweep(self.method, self.grid, comparison())


def _combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(grid, chosen, strict=True)) for chosen in itertools.product(*grid.values())]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# -- values that are typed ---------------------------------------------------------------------------------


def can_be_swept(parameter: Parameter) -> bool:
    """Tell whether a parameter has values that can be listed: numbers and choices."""
    return bool(parameter.choices) or parameter.type in (int, float, bool)


def read_values(parameter: Parameter, text: str, method: str) -> list[Any]:
    """Read values between commas, in the parameter's type.

    Raises
    ------
    UserError
        If there are none, if one of them does not fit, or if one is given twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if parts[-1] == "":
        parts.pop()  # still typing
    if not parts:
        raise UserError(f"{method}: {parameter.name} needs values, such as {suggested_values(parameter)}.")
    if "" in parts:
        raise UserError(f"{method}: {parameter.name} has two commas with nothing between them.")
    return _each_once(parameter, parts, method)


def _each_once(parameter: Parameter, given: Sequence[Any], method: str) -> list[Any]:
    """Return values in the parameter's type; refuse one that is given twice, however it is written."""
    values: list[Any] = []
    for each in given:
        value = parameter.check(each, method)
        if value in values:
            raise UserError(f"{method}: {parameter.name} has {each} twice; every value counts once.")
        values.append(value)
    return values


def suggested_values(parameter: Parameter) -> str:
    """Return values around a parameter's default, or all its choices, as `read_values` reads them."""
    if parameter.choices:
        return ", ".join(map(str, parameter.choices))
    if parameter.type is bool:
        return "false, true"
    default, top = parameter.default, parameter.le
    if default is None:
        around = [None]
    elif default == 0:
        around = [0, 1, 2] if parameter.type is int else [0, 0.1, 1]
    elif parameter.type is int:
        around = [default // 2, default, 2 * default]
    elif top is not None:
        around = [default / 2, default, (default + top) / 2]
    else:
        around = [default / 10, default, default * 10]
    texts = dict.fromkeys("auto" if value is None else f"{value:g}" for value in around)
    return ", ".join(text for text in texts if _fits(parameter, text))


def _fits(parameter: Parameter, text: str) -> bool:
    try:
        parameter.check(text, "")
    except UserError:
        return False
    return True
