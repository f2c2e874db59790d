"""The rows of a cohort as columns: what a table sorts and filters, and what a plot shows."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.studies.averages import NOT_MEASURED
from napari_segxai.core.errors import UserError

NAMES = ("case", "label", "map", "layer", "channel", "kind")
"""Columns that say which row it is, where a table has them."""

FIRST = ("case", "label", "map", "layer", "channel", "kind", "group")
LAST = ("subject", "method", "warnings", "error")

STUDY = "study"
"""Name of the table of a study, whose columns stay in their order."""

Key = tuple[str, ...]

SPLITS = ("label", "map", "group", "layer", "channel", "kind", "touches_border")
"""Columns that may tell kinds of rows apart."""

CONDITION = re.compile(r"(\S+?)(<=|>=|<|>|=)(-?[\d.]+(?:e-?\d+)?)", re.IGNORECASE)
"""Of a filter: truth_dice<0.9."""


@dataclass(frozen=True)
class Frame:
    """A table of a cohort.

    Attributes
    ----------
    name : str
        "maps", "objects", "flow" or "channels".
    rows : list of dict
        Its rows.
    columns : tuple of str
        All columns: names first, then numbers, then words.
    keys : list of tuple of str
        What each row is of: case, label, map, ...
    """

    name: str
    rows: list[dict[str, Any]] = field(repr=False)
    columns: tuple[str, ...]
    keys: list[Key] = field(repr=False)
    splits: dict[str, dict[str, np.ndarray]] = field(repr=False)
    """Which rows have each value of a column that tells several kinds of rows apart."""
    _numbers: dict[str, np.ndarray] = field(repr=False)

    @classmethod
    def of(cls, name: str, rows: list[dict[str, Any]]) -> Frame:
        """Return a table of these rows."""
        found = dict.fromkeys(key for row in rows for key in row)
        numbers = {}
        for column in found:
            values = [row.get(column) for row in rows]
            known = [value for value in values if value not in (None, "")]
            if column not in NAMES and known and all(isinstance(value, int | float) for value in known):
                numbers[column] = np.array(
                    [math.nan if value in (None, "") else value for value in values], float
                )
        first = [column for column in FIRST if column in found and column not in numbers]
        if name == STUDY:  # as the study has them
            own = [column for column in NAMES if column in found and column not in numbers]
            keys = [tuple(str(row.get(column, "")) for column in own) for row in rows]
            return cls(name, rows, tuple(found), keys, _splits(rows), numbers)
        last = [column for column in found if column not in numbers and column not in first]
        last.sort(key=lambda column: LAST.index(column) if column in LAST else -1)
        own = [column for column in NAMES if column in first]
        keys = [tuple(str(row.get(column, "")) for column in own) for row in rows]
        numbers = dict(
            sorted(numbers.items(), key=lambda item: item[0] in NOT_MEASURED)
        )  # how it was computed comes last
        return cls(name, rows, (*first, *numbers, *last), keys, _splits(rows), numbers)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def numeric(self) -> Collection[str]:
        """The columns that hold numbers, in their order."""
        return self._numbers.keys()

    def numbers(self, column: str) -> np.ndarray:
        """Return a column of numbers; NaN where there is none.

        Raises
        ------
        UserError
            If the column holds words.
        """
        if column not in self._numbers:
            raise UserError(f"{column!r} is no column of numbers of the {self.name}.")
        return self._numbers[column]

    def words(self, column: str) -> list[str]:
        """Return a column as words; "" where there is nothing."""
        return ["" if row.get(column) is None else str(row[column]) for row in self.rows]

    def order(self, column: str, *, descending: bool = False) -> np.ndarray:
        """Return the numbers of the rows, sorted by a column; rows without a value come last in both directions."""
        if column in self._numbers:
            values = self._numbers[column]
            known = np.flatnonzero(~np.isnan(values))
            by = -values[known] if descending else values[known]
            return np.concatenate(
                [known[np.argsort(by, kind="stable")], np.flatnonzero(np.isnan(values))]
            ).astype(int)
        texts = self.words(column)
        known = [k for k, text in enumerate(texts) if text]
        known.sort(key=lambda k: _natural(texts[k]), reverse=descending)
        return np.array([*known, *(k for k, text in enumerate(texts) if not text)], int)

    def matching(self, asked: str) -> np.ndarray:
        """Return which rows a filter leaves: each of its words is in the row's words, or is a condition such as truth_dice<0.9.

        Raises
        ------
        UserError
            If a condition names no column of numbers.
        """
        left = np.ones(len(self.rows), bool)
        plain = []
        for word in asked.split():
            if (found := CONDITION.fullmatch(word)) is None:
                plain.append(word.casefold())
                continue
            column, sign, text = found.groups()
            values, limit = self.numbers(column), float(text)
            with np.errstate(invalid="ignore"):
                left &= {
                    "<": values < limit,
                    ">": values > limit,
                    "<=": values <= limit,
                    ">=": values >= limit,
                    "=": values == limit,
                }[sign]
        if plain:
            told = [column for column in self.columns if column not in self._numbers]
            texts = ["\n".join(str(row.get(column) or "") for column in told).casefold() for row in self.rows]
            left &= np.array([all(word in text for word in plain) for text in texts], bool)
        return left


def _splits(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, np.ndarray]]:
    out = {}
    for column in SPLITS:
        words = np.array(["" if row.get(column) is None else str(row[column]) for row in rows], str)
        names = dict.fromkeys(words.tolist())
        if len(names.keys() - {""}) > 1:
            out[column] = {name: words == name for name in names}
    return out


def _natural(text: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", text.casefold())
    return [(0, int(part[:18]), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def frames(cohort: Cohort) -> dict[str, Frame]:
    """Return the tables of a cohort that have rows; that of the maps has the numbers of their objects as well."""
    objects: dict[tuple[str, str], Mapping[str, Any]] = {
        (row["case"], row.get("label", "")): row for row in cohort.objects
    }
    maps = [
        {
            **row,
            **{k: v for k, v in objects.get((row["case"], row.get("label", "")), {}).items() if k not in row},
        }
        for row in cohort.maps
    ]
    held = {"maps": maps, **{name: rows for name, rows in cohort.tables.items() if name != "maps"}}
    return {name: Frame.of(name, rows) for name, rows in held.items() if rows}


def inside(points: np.ndarray, corners: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return which points, given as rows (x, y), lie inside a polygon; those without a place do not."""
    from skimage.measure import points_in_poly

    found = np.zeros(len(points), bool)
    known = np.isfinite(points).all(1)
    if known.any() and len(corners) > 2:
        found[known] = points_in_poly(points[known], np.asarray(corners, float))
    return found


def places(frame: Frame, x: str, y: str, *, log_x: bool = False, log_y: bool = False) -> np.ndarray:
    """Return where the rows lie in a plot of two columns, as rows (x, y); NaN where one has no place there.

    Parameters
    ----------
    log_x, log_y
        Whether an axis is logarithmic: then places are powers of ten, and what is not above 0 has none.
    """
    out = np.empty((len(frame), 2))
    for axis, (column, log) in enumerate(((x, log_x), (y, log_y))):
        values = frame.numbers(column)
        with np.errstate(divide="ignore", invalid="ignore"):
            out[:, axis] = np.log10(np.where(values > 0, values, np.nan)) if log else values
    out[~np.isfinite(out).all(1)] = np.nan
    return out


def nearest_place(
    points: np.ndarray, at: tuple[float, float], pixel: tuple[float, float], within: float
) -> int | None:
    """Return the number of the point that is nearest to a place; None where none is within so many pixels.

    Parameters
    ----------
    points
        As rows (x, y); those without a place are left out.
    pixel
        Width and height of a pixel.
    """
    far = (((points - at) / pixel) ** 2).sum(1)
    known = np.isfinite(far)
    if not known.any():
        return None
    best = int(np.nanargmin(np.where(known, far, np.inf)))
    return best if far[best] <= within**2 else None
