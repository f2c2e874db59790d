"""Charts for print: what `core/chart.py` holds as data, drawn with axes, units, intervals and a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.core.chart import Chart, Place, Series
from napari_segxai.figures.style import COLORS, COLUMN, INCH, MARKERS, NORMAL, SMALL, fitted
from napari_segxai.figures.sweep import cell_colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

MANY = 1500
"""Points above which they are drawn as pixels also in a file of outlines, which would be slow to open."""

NAMED = 12
"""Series that a legend names."""

WRITTEN = 150
"""Cells of a matrix up to which their numbers are written into them."""


def draw_chart(
    chart: Chart, *, letter: str = "", width: float = COLUMN, height: float | None = None
) -> Figure:
    """Draw a chart.

    Parameters
    ----------
    letter
        Before its title, as of a panel; "" for none.
    width, height
        In mm; the height fits what it shows where it is None.

    Returns
    -------
    matplotlib.figure.Figure
        Not yet saved; see `style.write_figure`.
    """
    from matplotlib.figure import Figure

    names = _names(chart, "x"), _names(chart, "y")
    if height is None:
        rows = len(chart.series[0].y) if chart.kind == "matrix" and chart.series else 0
        height = 62.0 + (min(len(chart.series), NAMED) - 1) // 2 * 3.0 + 4.0 * max(0, rows - 8)
    figure = Figure(figsize=(width / INCH, height / INCH), layout="constrained")
    axes = figure.subplots()
    if chart.kind == "matrix":
        _draw_matrix(axes, chart.series[0], chart.x)
    else:
        number = 0
        for series in chart.series:
            _draw_series(axes, chart, series, number, names)
            number += series.kind != "lines"  # references are grey, and take no colour away
        _name_places(axes, names, width)
        if chart.log_x and not names[0]:
            axes.set_xscale("log")
            _few_ticks(axes.xaxis)
        if chart.log_y and not names[1]:
            axes.set_yscale("log")
            _few_ticks(axes.yaxis)
        axes.grid(alpha=0.25, linewidth=0.4)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        _legend(figure, chart)
    text = fitted(chart.title, width - 6 * bool(letter), NORMAL, 3)
    figure.suptitle(
        f"{letter}  {text}" if letter else text, fontsize=NORMAL, x=0.01, ha="left", parse_math=False
    )
    axes.set_xlabel(fitted(chart.x, width, SMALL, 2), fontsize=SMALL, parse_math=False)
    # Slanted names and a legend below leave an axis about half of the height.
    axes.set_ylabel(fitted(chart.y, height * 0.5, SMALL, 3), fontsize=SMALL, parse_math=False)
    axes.tick_params(which="both", labelsize=SMALL, width=0.5)
    return figure


def _names(chart: Chart, side: str) -> list[str]:
    """Return the names along an axis in the order in which they first come; none where it has numbers."""
    places = [place for series in chart.series for place in getattr(series, side)]
    found = [place for place in places if isinstance(place, str)]
    return list(dict.fromkeys(found))


def _numbers(places: Sequence[Place | None], names: Sequence[str], log: bool) -> np.ndarray:
    """Return places as numbers; "not a number" where there is none, or none that a logarithmic axis has."""
    where = {name: float(k) for k, name in enumerate(names)}
    found = [where.get(place, math.nan) if isinstance(place, str) else place for place in places]
    values = np.array([math.nan if value is None else value for value in found], float)
    return np.where(values > 0, values, math.nan) if log and not names else values


def _draw_series(
    axes: Axes, chart: Chart, series: Series, number: int, names: tuple[list[str], list[str]]
) -> None:
    x = _numbers(series.x, names[0], chart.log_x)
    y = _numbers(series.y, names[1], chart.log_y)
    kind = series.kind or chart.kind
    look: dict[str, Any] = {"color": COLORS[number % len(COLORS)], "label": series.name}
    if kind == "bars":
        count = sum((one.kind or chart.kind) == "bars" for one in chart.series)
        step = 0.8 if names[0] or len(x) < 2 else 0.8 * float(np.nanmin(np.diff(np.sort(x))) or 1)
        x = x + step * ((number + 0.5) / count - 0.5)
        axes.bar(x, y, width=step / count, **look)
    elif kind == "lines":
        reference = series.kind == "lines"  # said of one series, not of all
        line: dict[str, Any] = (
            {"color": "#555555", "linestyle": "dashed", "linewidth": 0.8} if reference else {"linewidth": 1.2}
        )
        few = len(x) <= 30 and not reference
        marker: dict[str, Any] = {"marker": _marker(number), "markersize": 3} if few else {}
        axes.plot(x, y, **{**look, **line, **marker})
    else:
        axes.plot(
            x, y, linestyle="none", marker=_marker(number), markersize=3.2, alpha=0.8,
            markeredgewidth=0, rasterized=len(x) > MANY, **look,
        )  # fmt: skip
    if series.low and series.high:
        ends = np.stack(
            [y - _numbers(series.low, [], chart.log_y), _numbers(series.high, [], chart.log_y) - y]
        )
        axes.errorbar(
            x, y, yerr=np.clip(np.nan_to_num(ends), 0, None), fmt="none", elinewidth=0.8, capsize=1.5,
            ecolor="#333333" if kind == "bars" else look["color"],
        )  # fmt: skip


def _marker(number: int) -> str:
    """Return the marker of a series: another one where colours begin anew."""
    return MARKERS[(number + number // len(COLORS)) % len(MARKERS)]


def _name_places(axes: Axes, names: tuple[list[str], list[str]], width: float) -> None:
    across, up = names
    if across:
        room = 0.75 * width / len(across)
        level = room >= 14
        shown = [fitted(name, room if level else 26, SMALL, 3 if level else 2) for name in across]
        turn: dict[str, Any] = {} if level else {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(across)), shown, parse_math=False, **turn)
        axes.set_xlim(-0.6, len(across) - 0.4)
    if up:
        axes.set_yticks(range(len(up)), [fitted(name, 26, SMALL, 2) for name in up], parse_math=False)
        axes.set_ylim(len(up) - 0.4, -0.6)


def _few_ticks(axis: Axis) -> None:
    """Write numbers beside a logarithmic axis that do not lie over each other, however short it is."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    decades = math.log10(high / low) if low > 0 else 9.0
    if decades < 3:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if decades > 0.8 else MaxNLocator(4))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, chart: Chart) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    named = [(handle, label) for handle, label in zip(handles, labels, strict=True) if label]
    if not named:
        return
    shown, more = named[:NAMED], len(named) - NAMED
    room = max(34.0, figure.get_figwidth() * INCH / 2 - 20)  # in two columns, beside lines and gaps
    texts = [fitted(label, room, SMALL, 1) for _, label in shown]
    if more > 0:
        texts[-1] += f" and {more} more"
    legend = figure.legend(
        [handle for handle, _ in shown],
        texts,
        loc="outside lower left",
        ncols=2,
        fontsize=SMALL,
        frameon=False,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _draw_matrix(axes: Axes, series: Series, across: str) -> None:
    """Draw cells with their numbers, and a colour bar; what is not known is grey."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    values = np.array(
        [[math.nan if value is None else value for value in row] for row in series.values], float
    )
    ground, ink = cell_colors(values)
    axes.imshow(ground, aspect="auto")
    level = len(series.x) <= 5 and all(len(str(name)) < 12 for name in series.x)
    turn: dict[str, Any] = {} if level else {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(
        range(len(series.x)), [fitted(str(n), 26, SMALL, 2) for n in series.x], parse_math=False, **turn
    )
    axes.set_yticks(range(len(series.y)), [fitted(str(n), 26, SMALL, 2) for n in series.y], parse_math=False)
    if values.size <= WRITTEN:
        for row, column in np.ndindex(values.shape):
            known = np.isfinite(values[row, column])
            text = f"{values[row, column]:.2g}" if known else "–"
            axes.text(column, row, text, ha="center", va="center", fontsize=SMALL - 1, color=ink[row][column])
    if np.isfinite(values).any():
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        scale = ScalarMappable(Normalize(low, high if high > low else low + 1), colormaps["viridis"])
        bar = axes.figure.colorbar(scale, ax=axes, fraction=0.05, pad=0.02)
        bar.ax.tick_params(labelsize=SMALL - 1, width=0.4)
