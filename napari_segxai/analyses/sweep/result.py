"""The result of a sweep: a map per combination, what is known of each, its heat maps and its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_segxai.analyses.compare.result import ARROWS, Comparison, write_comparison
from napari_segxai.analyses.sweep.values import combinations
from napari_segxai.core.errors import UserError, known_name
from napari_segxai.core.image import Image
from napari_segxai.core.paths import user_path
from napari_segxai.core.record import is_number
from napari_segxai.figures.style import write_figure
from napari_segxai.figures.sweep import Axis, HeatMap, heat_figure
from napari_segxai.io import saving
from napari_segxai.io.saving import save_folder
from napari_segxai.io.tables import write_csv
from napari_segxai.methods.registry import find_method
from napari_segxai.metrics.functional.chance import HIGH, MARK, Chance
from napari_segxai.metrics.functional.ties import above, tied

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE, HEAT = "table.csv", "heat.png"
ALWAYS_WRITTEN = (TABLE,)
"""Files that every sweep has."""

MAPS = "maps/"
"""Where its maps lie, a folder for each combination."""

BETTER: Mapping[str, Literal["higher", "lower"]] = {
    "dice_explained": "higher",
    "ratio_mask": "lower",
    "ratio_image": "lower",
    "dice_sufficient": "higher",
    "ratio_sufficient": "lower",
    "r_squared": "higher",
}
"""Of the numbers that methods tell of themselves: those that have a better end, the most telling first."""


@dataclass(frozen=True)
class Number:
    """What a sweep knows of every combination.

    Attributes
    ----------
    name : str
        Of a metric ("dice-explained"), or of a result of the method's own ("dice_explained").
    title : str
        For people.
    better : {"higher", "lower"} or None
        None where neither is, or where it is not known.
    own : bool
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
    method : str
        Its name.
    grid : mapping of str to sequence
        One or two parameters and their values, rows first.
    comparison : Comparison
        A map per combination, in the order of the grid; of a sweep that was stopped, the first ones alone.
    own_chance : mapping of (str, str) to Chance
        By map and number of the method's own: what random masks of the same area explain.
    fixed : mapping
        The parameters that were given and stay the same.
    """

    method: str
    grid: Mapping[str, Sequence[Any]]
    comparison: Comparison
    own_chance: Mapping[tuple[str, str], Chance] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns. One parameter makes one row."""
        counts = [len(values) for values in self.grid.values()]
        return (counts[0], counts[1]) if len(counts) == 2 else (1, counts[0])

    @property
    def combinations(self) -> list[dict[str, Any]]:
        """The values of the parameters, row by row."""
        return combinations(self.grid)

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
            {name: value for name, value in explanation.record.results.items() if is_number(value)}
            for explanation in self.comparison.explanations.values()
        ]

    def array(self, number: Number) -> np.ndarray:
        """Return `values` or `result`, whichever the number is.

        Parameters
        ----------
        number : Number
            One of `numbers`.
        """
        return self.result(number.name) if number.own else self.values(number.name)

    def values(self, metric: str) -> np.ndarray:
        """Return a metric's numbers, (rows, columns); NaN where undefined. One parameter makes one row.

        Parameters
        ----------
        metric : str
            Name of the metric; see `list_metrics`.
        """
        known_name(metric, (m.name for m in self.comparison.metrics), "this sweep has no metric")
        if not self.comparison.rows:
            return self._table([])
        return self._table([self.comparison.value(name, metric) for name in self.comparison.maps])

    def result(self, name: str) -> np.ndarray:
        """Return a number of the method's own, such as ratio_image of misure; NaN where there is none.

        Parameters
        ----------
        name : str
            Of a number that the method tells; see `own_numbers`.
        """
        known = dict.fromkeys(number for found in self.own_numbers for number in found)
        if self.own_numbers:
            known_name(name, known, f"{self.method} tells no number")
        return self._table([found.get(name) for found in self.own_numbers])

    def chance(self, number: Number) -> list[tuple[float, float] | None]:
        """Return what random maps of the same area reach, per map: mean and 95th percentile; None where not measured.

        Parameters
        ----------
        number : Number
            One of `numbers`.
        """
        names = list(self.comparison.maps)
        if number.own:
            found = [self.own_chance.get((name, number.name)) for name in names]
            return [None if one is None else (one.mean, one.high) for one in found]
        measured = names if self.comparison.rows else []
        return [self.comparison.chance(name, number.name) for name in measured]

    def chance_cells(self, number: Number) -> np.ndarray:
        """Tell in which cells a map is no better than random maps of the same area: boolean (rows, columns).

        Parameters
        ----------
        number : Number
            One of `numbers`.
        """
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
        """Write table.csv with a row per combination, heat.png with the best marked, and the explanations in maps/.

        Parameters
        ----------
        folder : str or Path
            It is made if it is not there.
        overwrite : bool
            Whether earlier results in the folder are replaced.

        Returns
        -------
        list of Path
            What was written, the record last.

        Raises
        ------
        UserError
            If the folder already holds results and `overwrite` is False, or cannot be written, or nothing was found before it was stopped.
        """
        return save_sweep(self, user_path(folder), overwrite=overwrite)


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


def save_sweep(sweep: Sweep, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the table and the heat maps; see `Sweep.save`."""
    rows = table(sweep)
    if not rows:
        raise UserError("the sweep was stopped before it found a map: there is nothing to write.")

    def write(new: Path) -> dict[str, Any]:
        write_csv(new / TABLE, rows)
        if numbers_shown(sweep):
            write_figure(heat_maps(sweep), new / HEAT)
        own_chance = [
            {"map": map, "number": number, **asdict(chance)}
            for (map, number), chance in sweep.own_chance.items()
        ]
        return {
            **write_comparison(sweep.comparison, new, "sweep", MAPS),
            "method": sweep.method,
            "fixed": dict(sweep.fixed),
            "grid": {name: list(values) for name, values in sweep.grid.items()},
            "own_chance": own_chance,
        }

    return save_folder(folder, write, overwrite=overwrite)


def least_size(combinations: int, image: Image) -> int:
    """Return how many bytes a sweep takes at least: its maps, a record and a line of the table for each, and the heat maps."""
    return saving.least_size(image, combinations) + 2500 * combinations + 10_000


def table(sweep: Sweep) -> list[dict[str, Any]]:
    """Return a row per combination: its parameters, the metrics, and the method's own numbers.

    There is no time: combinations that run together have none of their own. What a method tells under the name of
    a parameter that is swept gets "_result" behind its name.
    """
    own = list(dict.fromkeys(name for found in sweep.own_numbers for name in found))
    out = []
    explanations = sweep.comparison.explanations.values()
    for row, explanation, found in zip(sweep.comparison.table, explanations, sweep.own_numbers, strict=True):
        chosen = {name: explanation.record.parameters[name] for name in sweep.grid}
        measured = {key: value for key, value in row.items() if key not in ("map", "method", "seconds")}
        results = {}
        for name in own:
            results[f"{name}_result" if name in chosen else name] = found.get(name)
            level = sweep.own_chance.get((row["map"], name))
            if level is not None:
                results[f"{name} chance"], results[f"{name} chance {HIGH}%"] = level.mean, level.high
                results[f"{name} above chance"] = level.is_beaten(found[name]) if name in found else None
        out.append({**chosen, **measured, **results})
    return out


def numbers_shown(sweep: Sweep) -> list[Number]:
    """Return the numbers with a heat map: all but the method's that have no better end and are the same everywhere."""
    return [n for n in sweep.numbers if n.better or not n.own or _differs(sweep.array(n))]


def _differs(values: np.ndarray) -> bool:
    known = values[np.isfinite(values)]
    return bool(known.size) and not tied(known, known[0]).all()


def heat_maps(sweep: Sweep) -> Figure:
    """Draw one heat map per number, with its values, the best framed, and a mark at what is no better than chance."""
    maps = []
    for number in numbers_shown(sweep):
        values = sweep.array(number)
        best = best_cells(values, number.better)
        maps.append(HeatMap(number.title + ARROWS[number.better], values, best, sweep.chance_cells(number)))
    *down, across = (Axis(name, values) for name, values in sweep.grid.items())
    return heat_figure(maps, *(down or [Axis("", [""])]), across, mark=MARK, meaning="no better than chance")
