"""Charts as plain data: what a study shows. Paper draws them with matplotlib, and the dock in its own way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from napari_segxai.core.errors import UserError, nearest

Kind: TypeAlias = Literal["points", "lines", "bars", "matrix"]
Place: TypeAlias = float | int | str
"""A number, or a name: the names of an axis stand beside each other in the order in which they first come."""


@dataclass(frozen=True)
class Series:
    """What belongs together in a chart, under one name of its legend.

    Attributes
    ----------
    name : str
        In the legend; "" for none.
    x : tuple of float or str
        Places; of a matrix the names of its columns.
    y : tuple of float, str or None
        As many values; None for what is not known. Of a matrix the names of its rows.
    low, high : tuple of float or None
        As many ends of the intervals of y; empty without intervals.
    text : tuple of str
        As many words about the points, one line each; empty without.
    cases : tuple of str
        As many ids of cases, which a click opens, or numbers of steps on a path, to which it goes; empty where a point is neither.
    values : tuple of tuple of float or None
        The rows of a matrix; else empty.
    kind : {"points", "lines", "bars"}, optional
        As that of the chart, by default: a line of reference among points has its own.

    Raises
    ------
    UserError
        If the lengths do not agree.
    """

    name: str
    x: tuple[Place, ...]
    y: tuple[Place | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    text: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    values: tuple[tuple[float | None, ...], ...] = ()
    kind: Kind | None = None

    def __post_init__(self) -> None:
        for word in ("x", "y", "low", "high", "text", "cases"):
            object.__setattr__(self, word, tuple(map(plain_value, getattr(self, word))))
        object.__setattr__(self, "values", tuple(tuple(map(plain_value, row)) for row in self.values))
        if self.values:
            if len(self.values) != len(self.y) or {len(row) for row in self.values} != {len(self.x)}:
                raise UserError(
                    f"the matrix {self.name!r} has not as many rows and columns as names; give one name each."
                )
            return
        for word in ("y", "low", "high", "text", "cases"):
            if len(getattr(self, word)) not in ({len(self.x)} if word == "y" else {0, len(self.x)}):
                raise UserError(
                    f"the series {self.name!r} has {len(self.x)} x but {len(getattr(self, word))} {word}; give as many."
                )


@dataclass(frozen=True)
class Chart:
    """One picture of axes.

    Attributes
    ----------
    kind : {"points", "lines", "bars", "matrix"}
        How its series are drawn. A matrix has one series.
    title : str
        What it shows.
    x, y : str
        Titles of the axes, with the unit in brackets: "size (pixels)".
    series : tuple of Series
        What it holds.
    caption : str
        Below it: what the reader has to know.
    log_x, log_y : bool
        Whether an axis is logarithmic; what is not above 0 has no place there.

    Raises
    ------
    UserError
        If there is no such kind, or a matrix has not one series.
    """

    kind: Kind
    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    caption: str = ""
    log_x: bool = False
    log_y: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UserError(f"chart kind {self.kind!r} is unknown; {nearest(str(self.kind), get_args(Kind))}")
        object.__setattr__(self, "series", tuple(self.series))
        if self.kind == "matrix" and len(self.series) != 1:
            raise UserError(f"the chart {self.title!r} is a matrix of {len(self.series)} series; give one.")

    def as_json(self) -> dict[str, Any]:
        """Return the chart as JSON holds it; what is not known is null."""
        own = {word: value for word, value in vars(self).items() if word != "series"}
        return {**own, "series": [dict(vars(one)) for one in self.series]}


def chart_of(told: Mapping[str, Any]) -> Chart:
    """Return a chart from what `Chart.as_json` returned."""
    series: list[dict[str, Any]] = told["series"]
    own: dict[str, Any] = {**told, "series": tuple(Series(**one) for one in series)}
    return Chart(**own)


def plain_value(value: Any) -> Any:
    """Return a number of numpy as Python's own, and one that is not finite as None; names stay as they are."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def matrix(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    *,
    x: str,
    y: str,
    caption: str = "",
) -> Chart:
    """Return the chart of a matrix, given row by row.

    Parameters
    ----------
    title, x, y, caption
        As of `Chart`.
    rows, columns
        Their names.
    values
        A row for every name; None for what is not known.

    Returns
    -------
    Chart
        Of one series, which bears the title.
    """
    held = Series(title, tuple(columns), tuple(rows), values=tuple(tuple(row) for row in values))
    return Chart("matrix", title, x, y, (held,), caption)
