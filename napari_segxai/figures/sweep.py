"""Heat maps of a sweep: one per number, a cell per combination."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.figures.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRAME = "#ff4030"
"""Colour of the frame around the best."""

PANELS = 4
"""Heat maps side by side."""

UNDEFINED = "–"


@dataclass(frozen=True)
class Axis:
    """One side of the heat maps.

    Attributes
    ----------
    name : str
        Of the parameter; "" where there is none.
    values : sequence
        Of the parameter, as they are written beside the cells.
    """

    name: str
    values: Sequence[Any]


@dataclass(frozen=True)
class HeatMap:
    """One number of every combination.

    Attributes
    ----------
    title : str
        Above the cells.
    values : numpy.ndarray
        (rows, columns); what is not finite is undefined.
    best, marked : numpy.ndarray
        Boolean (rows, columns): which cells are framed, and which get the mark.
    """

    title: str
    values: np.ndarray
    best: np.ndarray
    marked: np.ndarray


def heat_figure(maps: Sequence[HeatMap], down: Axis, across: Axis, *, mark: str, meaning: str) -> Figure:
    """Draw heat maps side by side, with their values, the best cells framed and some cells marked.

    Parameters
    ----------
    maps : sequence of HeatMap
        One at least, all of one shape.
    down, across : Axis
        What the rows and the columns of the cells are.
    mark, meaning : str
        The mark behind a number, and what it means; the meaning is told below heat maps with marked cells.

    Returns
    -------
    matplotlib.figure.Figure
        Not yet saved.
    """
    from matplotlib.figure import Figure

    rows, columns = maps[0].values.shape
    beside = min(PANELS, len(maps))
    below = math.ceil(len(maps) / beside)
    size = (max(2.0, 0.9 + 0.6 * columns) * beside, (1.1 + 0.35 * rows) * below)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    axes = figure.subplots(below, beside, squeeze=False).ravel()
    for axis in axes[len(maps) :]:
        axis.set_visible(False)
    for axis, map in zip(axes, maps, strict=False):
        _draw(axis, map, mark)
        axis.set_xticks(range(columns), [plain(str(v)) for v in across.values], fontsize=6)
        axis.set_yticks(range(rows), [plain(str(v)) for v in down.values], fontsize=6)
        axis.set_xlabel(plain(across.name) + (f"\n{mark} {meaning}" if map.marked.any() else ""), fontsize=7)
        axis.set_ylabel(plain(down.name), fontsize=7)
    return figure


def _draw(axis: Axes, map: HeatMap, mark: str) -> None:
    from matplotlib.patches import Rectangle

    ground, ink = cell_colors(map.values)
    axis.imshow(ground, aspect="auto")
    for row, column in np.ndindex(map.values.shape):
        value = map.values[row, column]
        text = f"{value:.3g}" if np.isfinite(value) else UNDEFINED
        text += f" {mark}" * bool(map.marked[row, column])
        axis.text(column, row, text, ha="center", va="center", fontsize=7, color=ink[row][column])
    for row, column in np.argwhere(map.best):
        place = (column - 0.46, row - 0.46)  # within its cell, so that neighbours' frames can be told apart
        axis.add_patch(Rectangle(place, 0.92, 0.92, fill=False, edgecolor=FRAME, linewidth=2))
    axis.set_title(plain("\n".join(textwrap.wrap(map.title, 26))), fontsize=7)


def cell_colors(values: np.ndarray) -> tuple[np.ndarray, list[list[str]]]:
    """Return the colours of a heat map's cells, from the lowest number to the highest.

    Parameters
    ----------
    values : numpy.ndarray
        (rows, columns); what is not finite is grey.

    Returns
    -------
    ground : numpy.ndarray
        (rows, columns, 3) in [0, 1].
    ink : list of list of str
        "white" or "black" for each cell, whichever can be read on it.
    """
    from matplotlib import colormaps

    known = np.isfinite(values)
    low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 0.0)
    share = np.where(known, (np.where(known, values, low) - low) / (high - low if high > low else 1.0), 0.0)
    ground = np.where(known[..., None], colormaps["viridis"](share)[..., :3], 0.4)
    light = ground @ (0.299, 0.587, 0.114)
    return ground, [["black" if one > 0.5 else "white" for one in row] for row in light]
