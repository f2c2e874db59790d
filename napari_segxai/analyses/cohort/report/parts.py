"""What a report is made of, whatever file it is written to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_segxai.analyses.cohort.tables.columns import describe

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes
    ----------
    name
        Of its file.
    title
        Above it.
    heads
        Of its columns, with units.
    rows
        As many cells each; None is empty.
    hidden
        Whether it is too long for a page: then it is written to files alone.
    """

    name: str
    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    hidden: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes
    ----------
    alt
        What it shows, for those who do not see it.
    caption
        Below it.
    draw
        Draws it.
    vector
        Whether it consists of lines and letters, not of pixels.
    """

    alt: str
    caption: str
    draw: Callable[[], Figure]
    vector: bool = True


@dataclass(frozen=True)
class Section:
    """A part of a report with a title: text, what speaks against it, pictures, tables, and code as it is typed."""

    title: str
    text: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    code: str = ""

    @property
    def charts(self) -> tuple[Picture, ...]:
        """Its pictures of lines and letters."""
        return tuple(picture for picture in self.pictures if picture.vector)

    @property
    def photographs(self) -> tuple[Picture, ...]:
        """Its pictures of pixels."""
        return tuple(picture for picture in self.pictures if not picture.vector)


@dataclass(frozen=True)
class Report:
    """All of it.

    Attributes
    ----------
    title, subtitle
        Above all.
    sections
        In order.
    bibtex
        Entries of what was used.
    """

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    bibtex: str

    @property
    def tables(self) -> list[Table]:
        """Every table, also those that are written to files alone."""
        return [table for section in self.sections for table in section.tables]


def table_of(
    name: str, title: str, rows: Sequence[Mapping[str, Any]], *, numbers: bool = False, hidden: bool = False
) -> Table:
    """Return rows as a table.

    Parameters
    ----------
    numbers
        Whether the columns are numbers of a cohort, which have titles and units.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    titles = [describe(key, name).axis if numbers else _head(key) for key in columns]
    heads = tuple(  # two columns may have one title: a number of a method and the metric of the same name
        title if titles.count(title) == 1 else f"{title} [{key}]"
        for title, key in zip(titles, columns, strict=True)
    )
    return Table(name, title, heads, tuple(tuple(row.get(key) for key in columns) for row in rows), hidden)


def _head(key: str) -> str:
    words = key.replace("_", " ")
    return words[:1].upper() + words[1:]


def written(value: Any) -> str:
    """Return a cell as it is read: numbers with four digits, a dash where there is none."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}") if isinstance(value, float) else str(value)
