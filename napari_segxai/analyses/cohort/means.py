"""Means over a cohort with intervals over its subjects, for every group of rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from napari_segxai.core.chart import Series
from napari_segxai.core.text_table import counted

Row = Mapping[str, Any]


def grouped(rows: Iterable[Row], key: Callable[[Row], Hashable]) -> dict[Any, list[Row]]:
    """Return the rows that worked, by a key, in the order in which the keys come first."""
    out: dict[Any, list[Row]] = {}
    for row in rows:
        if not row["error"]:
            out.setdefault(key(row), []).append(row)
    return out


def series_of(name: str, places: Sequence[str], means: Sequence[Row | None]) -> Series:
    """Return means with their intervals as a series of a chart."""
    known = [one or {} for one in means]
    return Series(
        name,
        tuple(places),
        tuple(one.get("mean") for one in known),
        tuple(one.get("low") for one in known),
        tuple(one.get("high") for one in known),
        tuple(over(one) if one else "" for one in known),
    )


def over(mean: Row) -> str:
    """Say over what a mean was taken: "40 objects of 12 subjects"."""
    return f"{counted(mean['n'], 'object')} of {counted(mean['subjects'], 'subject')}"


def said(mean: Row, form: str = ".2f") -> str:
    """Return a mean with its interval, in words."""
    if mean["low"] is None:
        return f"{mean['mean']:{form}}"
    return f"{mean['mean']:{form}} (95 % interval {mean['low']:{form}} to {mean['high']:{form}})"
