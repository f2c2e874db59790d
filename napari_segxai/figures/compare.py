"""A picture of comparisons: cases as rows; image, prediction and maps as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_segxai.core.errors import UserError
from napari_segxai.figures.colormaps import SIGNED
from napari_segxai.figures.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class DrawnMap:
    """One slice of a map, and the ends of the whole map.

    Attributes
    ----------
    values : numpy.ndarray
        (rows, columns), raw.
    low : float
        The lowest value of the whole map.
    end : float
        The largest magnitude in the whole map.
    """

    values: np.ndarray
    low: float
    end: float


@dataclass(frozen=True)
class Drawn:
    """What a picture needs of a comparison: one slice of everything, as it is shown.

    Attributes
    ----------
    name, label : str
        Of the image, and what is explained.
    ground : numpy.ndarray
        (rows, columns): the image, grey, in [0, 1].
    prediction : numpy.ndarray
        (rows, columns): label values.
    maps : dict of str to DrawnMap
        By name.
    """

    name: str
    label: str
    ground: np.ndarray
    prediction: np.ndarray
    maps: dict[str, DrawnMap]


def picture(rows: Sequence[Drawn], *, common: bool = False) -> Figure:
    """Draw cases as rows, and image, prediction and maps as columns (Hasany et al. 2026, figures 1 to 3).

    Parameters
    ----------
    rows : sequence of Drawn
        The cases, one at least.
    common : bool, default: False
        Whether the maps of a case share one colour scale; they should only where their methods share a unit.

    Returns
    -------
    matplotlib.figure.Figure
        Not yet saved.

    Raises
    ------
    UserError
        If there is no map.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for row in rows for name in row.maps))
    if not names:
        raise UserError("there is no map to draw yet.")
    columns = 2 + len(names)
    height, width = rows[0].ground.shape
    tall = float(np.clip(1.7 * height / width, 0.8, 3))
    figure = Figure(
        figsize=(0.3 + 1.75 * columns, 0.45 + (tall + 0.3) * len(rows)), dpi=120, layout="compressed"
    )
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        _draw_case(axes, row, names, common)
    for axis, title in zip(grid[0], ("image", "prediction", *names), strict=True):
        axis.set_title(plain(title), fontsize=7)
    return figure


def _draw_case(axes: Sequence[Axes], row: Drawn, names: Sequence[str], common: bool) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    outline = row.prediction > 0
    axes[0].set_ylabel(plain(f"{row.name}\n{row.label}"), fontsize=7)
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        axis.imshow(row.ground, cmap="gray")
        for spine in axis.spines.values():
            spine.set_visible(False)
    axes[1].imshow(
        np.ma.masked_equal(row.prediction, 0),
        cmap="tab10",
        vmin=0,
        vmax=9,
        alpha=0.6,
        interpolation="nearest",
    )
    for axis, name in zip(axes[2:], names, strict=True):
        if name not in row.maps:
            axis.text(0.5, 0.5, "none", ha="center", transform=axis.transAxes, color="white", fontsize=7)
            continue
        map = row.maps[name]
        end = (max(each.end for each in row.maps.values()) if common else map.end) or 1.0
        if map.low < 0:
            signed = LinearSegmentedColormap.from_list("signed", SIGNED["colors"])
            axis.imshow(map.values, cmap=signed, vmin=-end, vmax=end)
        else:  # a map without negative values may have a floor: what counts is what rises above it
            axis.imshow(map.values, cmap="inferno", vmin=map.low, vmax=end, alpha=0.75)
        if outline.any() and not outline.all():
            axis.contour(outline, levels=[0.5], colors="white", linewidths=0.6)
