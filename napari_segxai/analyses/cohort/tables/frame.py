"""The rows of a cohort as columns: what a table sorts and filters, and what a plot shows."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.studies.averages import NOT_MEASURED
from napari_segxai.analyses.cohort.tables.columns import describe
from napari_segxai.core.column import Column
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
class Words:
    """A column of words, told apart once: comparing 12 000 rows word by word takes longer than a window may wait.

    Attributes
    ----------
    known : list of str
        Every different word, in the order in which they come; "" where a row has nothing.
    codes : ndarray of int
        For each row, which of them it has.
    ranks : ndarray of int
        For each of them, where it comes in a sorted table: numbers within words by their value.
    """

    known: list[str]
    codes: np.ndarray
    ranks: np.ndarray

    @classmethod
    def of(cls, values: Iterable[Any]) -> Words:
        """Return a column of these values."""
        known: dict[str, int] = {}
        codes = [known.setdefault(word_of(value), len(known)) for value in values]
        words = list(known)
        ranks = np.empty(len(words), int)
        ranks[sorted(range(len(words)), key=lambda k: _natural(words[k]))] = np.arange(len(words))
        return cls(words, np.array(codes, int), ranks)

    def where(self, fits: Callable[[str], bool]) -> np.ndarray:
        """Return which rows have a word that fits."""
        return np.array([fits(word) for word in self.known], bool)[self.codes]


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
    _words: dict[str, Words] = field(repr=False)
    row_of: dict[Key, int] = field(repr=False)
    """The number of the row with a key."""
    describes: Callable[[str], Column] = field(repr=False)
    """What describes a column."""

    @classmethod
    def of(
        cls, name: str, rows: list[dict[str, Any]], describes: Callable[[str], Column] | None = None
    ) -> Frame:
        """Return a table of these rows; its columns are those of a cohort unless `describes` tells of others."""
        found = dict.fromkeys(key for row in rows for key in row)
        numbers = {}
        for column in found:
            values = [row.get(column) for row in rows]
            known = [value for value in values if value not in (None, "")]
            if column not in NAMES and known and all(isinstance(value, int | float) for value in known):
                numbers[column] = np.array(
                    [math.nan if value in (None, "") else value for value in values], float
                )
        words = {
            column: Words.of(row.get(column) for row in rows) for column in found if column not in numbers
        }
        columns = tuple(found)
        if name != STUDY:  # whose columns are as the study has them
            first = [column for column in FIRST if column in words]
            last = [column for column in words if column not in first]
            last.sort(key=lambda column: LAST.index(column) if column in LAST else -1)
            numbers = dict(
                sorted(numbers.items(), key=lambda item: item[0] in NOT_MEASURED)
            )  # how it was computed comes last
            columns = (*first, *numbers, *last)
        own = [[words[name].known[k] for k in words[name].codes] for name in NAMES if name in words]
        keys = list(zip(*own, strict=True)) if own else [()] * len(rows)
        row_of = {key: k for k, key in enumerate(keys)}
        if describes is None:  # that of the maps has the columns of the objects as well
            describes = partial(describe, table="" if name == "maps" else name)
        return cls(name, rows, columns, keys, _splits(rows, words), numbers, words, row_of, describes)

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

    @property
    def names(self) -> list[str]:
        """What the parts of a key are."""
        return [name for name in NAMES if name in self._words]

    def name_of(self, row: int, column: str) -> str:
        """Return a part of the key of a row; "" where the table has no such part."""
        return self.keys[row][self.names.index(column)] if column in self.names else ""

    def cases_of(self, rows: Collection[int]) -> list[str]:
        """Return the ids of the cases of some rows, in the order of the table."""
        if "case" not in self._words:
            return []
        words = self._words["case"]
        return [words.known[k] for k in np.unique(words.codes[np.asarray(rows, int)])]

    def rows_of(self, case: str) -> np.ndarray:
        """Return the numbers of the rows of a case."""
        if "case" not in self._words:
            return np.arange(0)
        return np.flatnonzero(self._words["case"].where(lambda word: word == case))

    def order(self, column: str, *, descending: bool = False) -> np.ndarray:
        """Return the numbers of the rows, sorted by a column; rows without a value come last in both directions."""
        if column in self._numbers:
            values = self._numbers[column]
            known = np.flatnonzero(~np.isnan(values))
            by = -values[known] if descending else values[known]
            return np.concatenate(
                [known[np.argsort(by, kind="stable")], np.flatnonzero(np.isnan(values))]
            ).astype(int)
        words = self._words[column]
        there = words.where(bool)
        known, by = np.flatnonzero(there), words.ranks[words.codes][there]
        return np.concatenate(
            [known[np.argsort(-by if descending else by, kind="stable")], np.flatnonzero(~there)]
        )

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
        for word in plain:  # which holds no space, and so is in one column or none
            found = [
                held.where(lambda text, word=word: word in text.casefold()) for held in self._words.values()
            ]
            left &= np.any(found, axis=0) if found else False
        return left


def _splits(
    rows: Sequence[Mapping[str, Any]], words: Mapping[str, Words]
) -> dict[str, dict[str, np.ndarray]]:
    out = {}
    for column in SPLITS:
        held = words[column] if column in words else Words.of(row.get(column) for row in rows)
        if len(set(held.known) - {""}) > 1:
            out[column] = {name: held.codes == k for k, name in enumerate(held.known)}
    return out


def word_of(value: Any) -> str:
    """Return what a table says of a value that is no number."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


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
