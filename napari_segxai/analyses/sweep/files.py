"""A sweep as a table and as heat maps."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.analyses.compare.files import ARROWS, facts_of
from napari_segxai.analyses.sweep.run import best_cells
from napari_segxai.core.errors import UserError
from napari_segxai.io.saving import save_folder
from napari_segxai.io.tables import write_csv
from napari_segxai.metrics.functional.chance import HIGH, MARK
from napari_segxai.metrics.functional.ties import tied

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_segxai.analyses.sweep.run import Number, Sweep

TABLE, HEAT = "table.csv", "heat.png"
SURE = (TABLE,)
"""Files that every sweep has."""

FRAME = "#ff4030"
"""Colour of the frame around the best."""

PANELS = 4
"""Heat maps side by side."""

UNDEFINED = "–"


def save_sweep(sweep: Sweep, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the table and the heat maps; see `Sweep.save`."""
    rows = table(sweep)
    if not rows:
        raise UserError("the sweep was stopped before it found a map: there is nothing to write.")

    def write(new: Path) -> dict[str, Any]:
        write_csv(new / TABLE, rows)
        if numbers_shown(sweep):
            heat_figure(sweep).savefig(new / HEAT)
        grid = {name: list(values) for name, values in sweep.grid.items()}
        return {**facts_of(sweep.comparison, "sweep"), "method": sweep.method, "grid": grid}

    return save_folder(folder, write, overwrite=overwrite)


def least_size(combinations: int) -> int:
    """Return how many bytes a sweep takes at least: a line of the table each, one of the record, and the heat maps."""
    return 100 * combinations + 10_000


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
                results[f"{name} above chance"] = level.is_beaten(found[name])
        out.append({**chosen, **measured, **results})
    return out


def numbers_shown(sweep: Sweep) -> list[Number]:
    """Return the numbers with a heat map: all but the method's that have no better end and are the same everywhere."""
    return [n for n in sweep.numbers if n.better or not n.own or _differs(sweep.array(n))]


def _differs(values: np.ndarray) -> bool:
    known = values[np.isfinite(values)]
    return bool(known.size) and not tied(known, known[0]).all()


def heat_figure(sweep: Sweep) -> Figure:
    """Draw one heat map per number, with its values, the best framed, and a mark at what is no better than chance."""
    from matplotlib.figure import Figure

    numbers = numbers_shown(sweep)
    rows, columns = sweep.shape
    across = min(PANELS, len(numbers))
    down = math.ceil(len(numbers) / across)
    size = (max(2.0, 0.9 + 0.6 * columns) * across, (1.1 + 0.35 * rows) * down)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis in axes[len(numbers) :]:
        axis.set_visible(False)
    for axis, number in zip(axes, numbers, strict=False):
        _draw(axis, sweep, number)
    return figure


def _draw(axis: Axes, sweep: Sweep, number: Number) -> None:
    from matplotlib.patches import Rectangle

    values = sweep.array(number)
    rows, columns = values.shape
    ground, ink = cell_colors(values)
    chance = sweep.chance_cells(number)
    axis.imshow(ground, aspect="auto")
    for row, column in np.ndindex(values.shape):
        text = f"{values[row, column]:.3g}" if np.isfinite(values[row, column]) else UNDEFINED
        text += f" {MARK}" * bool(chance[row, column])
        axis.text(column, row, text, ha="center", va="center", fontsize=7, color=ink[row][column])
    for row, column in np.argwhere(best_cells(values, number.better)):
        place = (column - 0.46, row - 0.46)  # within its cell, so that neighbours' frames can be told apart
        axis.add_patch(Rectangle(place, 0.92, 0.92, fill=False, edgecolor=FRAME, linewidth=2))
    axis.set_title("\n".join(textwrap.wrap(number.title + ARROWS[number.better], 26)), fontsize=7)
    names = list(sweep.grid)
    axis.set_xticks(range(columns), [str(v) for v in sweep.grid[names[-1]]], fontsize=6)
    axis.set_yticks(
        range(rows), [str(v) for v in sweep.grid[names[0]]] if len(names) == 2 else [""], fontsize=6
    )
    axis.set_xlabel(names[-1] + (f"\n{MARK} no better than chance" if chance.any() else ""), fontsize=7)
    axis.set_ylabel(names[0] if len(names) == 2 else "", fontsize=7)


def cell_colors(values: np.ndarray) -> tuple[np.ndarray, list[list[str]]]:
    """Return the colours of a heat map's cells, from the lowest number to the highest.

    Parameters
    ----------
    values
        (rows, columns); what is not finite is grey.

    Returns
    -------
    ground
        (rows, columns, 3) in [0, 1].
    ink
        "white" or "black" for each cell, whichever can be read on it.
    """
    from matplotlib import colormaps

    known = np.isfinite(values)
    low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 0.0)
    share = np.where(known, (np.where(known, values, low) - low) / (high - low if high > low else 1.0), 0.0)
    ground = np.where(known[..., None], colormaps["viridis"](share)[..., :3], 0.4)
    light = ground @ (0.299, 0.587, 0.114)
    return ground, [["black" if one > 0.5 else "white" for one in row] for row in light]
