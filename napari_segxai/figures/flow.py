"""The picture of an information flow: a tile for every label and network layer, and the curves over depth below."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.core.text_table import short
from napari_segxai.figures.colormaps import SIGNED
from napari_segxai.figures.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

WIDTH = 1.35
"""Of a tile, in inches."""

CURVE = (2.1, 2.6)
"""Least width and the height of a chart of curves, in inches."""

MARK = "#d08000"
"""Colour of the frame around a tile that is marked."""


@dataclass(frozen=True)
class Cell:
    """One tile as it is drawn.

    Attributes
    ----------
    values
        (rows, columns): a signed map.
    end
        Where its colour scale ends, on both sides of 0.
    caption
        What stands below it.
    marked
        Whether it is framed.
    """

    values: np.ndarray
    end: float
    caption: str
    marked: bool


def draw_flow(
    cells: Sequence[Sequence[Cell]],
    outlines: Sequence[np.ndarray],
    curves: Sequence[tuple[str, Sequence[Sequence[float]]]],
    *,
    labels: Sequence[str],
    layers: Sequence[tuple[str, str]],
    size: tuple[float, float],
    title: str,
) -> Figure:
    """Draw an information flow.

    Parameters
    ----------
    cells
        For every label, for every network layer.
    outlines
        For every label: boolean (rows, columns), whose outline is drawn over its tiles.
    curves
        Of every curve its title, and for every label its values over the network layers, in [0, 1]; NaN where there
        is none.
    labels
        Names of the labels.
    layers
        Name and stage of every network layer.
    size
        Height and width of what a tile shows, in any unit.
    title
        What stands above all.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    names, labels = [plain(short(name)) for name, _ in layers], [plain(label) for label in labels]
    rows, columns = len(labels), len(layers)
    height = float(np.clip(WIDTH * size[0] / size[1], 0.7, 2.5)) + 0.42
    width = 0.6 + WIDTH * columns
    beside = max(1, min(len(curves), int(width / CURVE[0])))
    below = CURVE[1] * math.ceil(len(curves) / beside)
    figure = Figure(figsize=(width, 0.7 + height * rows + below), dpi=110)
    parts: Any = figure.subfigures(2, 1, height_ratios=[height * rows + 0.7, below])
    top, bottom = parts
    axes = top.subplots(rows, columns, squeeze=False)
    top.subplots_adjust(
        left=max(0.05, 0.35 / width),
        right=0.995,
        top=1 - 0.5 / (height * rows + 0.7),
        bottom=0.04,
        wspace=0.06,
    )
    for row, label, own, outline in zip(axes, labels, cells, outlines, strict=True):
        for axis, cell in zip(row, own, strict=True):
            _draw_cell(axis, cell, outline, size)
        row[0].set_ylabel(label, fontsize=9)
    for axis, name, (_, stage) in zip(axes[0], names, layers, strict=True):
        axis.set_title(f"{name}\n{stage}", fontsize=7)
    _draw_curves(bottom, curves, labels, names, (width, below), beside)
    figure.suptitle(plain(title), fontsize=9, y=0.995)
    return figure


def _draw_cell(axis: Axes, cell: Cell, outline: np.ndarray, size: tuple[float, float]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    height, width = size
    colors = LinearSegmentedColormap.from_list("against-for", SIGNED["colors"][:, :3])
    box = (0.0, width, height, 0.0)
    axis.imshow(cell.values, cmap=colors, vmin=-cell.end, vmax=cell.end, extent=box, interpolation="nearest")
    if outline.any() and not outline.all():
        axis.contour(
            outline,
            levels=[0.5],
            colors="white",
            linewidths=0.6,
            extent=(0.0, width, 0.0, height),
            origin=None,
        )
    axis.set(xticks=[], yticks=[])
    axis.set_xlabel(cell.caption, fontsize=6, labelpad=2)
    for spine in axis.spines.values():
        spine.set_visible(False)
    if cell.marked:
        axis.patch.set_visible(True)
        for spine in axis.spines.values():
            spine.set(visible=True, color=MARK, linewidth=2)


def _draw_curves(
    figure: SubFigure,
    curves: Sequence[tuple[str, Sequence[Sequence[float]]]],
    labels: Sequence[str],
    names: Sequence[str],
    size: tuple[float, float],
    beside: int,
) -> None:
    """Draw charts in rows of `beside`, on a part of the figure of `size` (width and height in inches)."""
    (width, height), high = size, CURVE[1]
    rows = round(height / high)
    axes = figure.subplots(rows, beside, squeeze=False).ravel()
    left = max(0.05 * width, 0.4)
    gap = 0.35 / (width / beside)
    figure.subplots_adjust(
        left=left / width,
        right=1 - 0.12 / width,
        top=1 - 0.45 / height,
        bottom=0.95 / height,
        wspace=gap,
        hspace=1.1,
    )
    letters = int(width / beside / 0.065)
    for axis in axes[len(curves) :]:
        axis.set_visible(False)
    for axis, (title, lines) in zip(axes, curves, strict=False):
        for label, values in zip(labels, lines, strict=True):
            axis.plot(values, marker="o", markersize=3, linewidth=1, label=label)
        axis.set_title("\n".join(textwrap.wrap(title, letters)), fontsize=8)
        axis.set_ylim(-0.03, 1.03)
        axis.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
        axis.tick_params(axis="y", labelsize=6)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=6)
