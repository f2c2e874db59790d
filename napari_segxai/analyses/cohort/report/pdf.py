"""The report as PDF: pages of A4 that matplotlib draws."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.analyses.cohort.report.parts import Picture, Report, Section, Table, written
from napari_segxai.figures.style import COLORS, DPI, INCH, fitted, new_figure, pixels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDE, HIGH, MARGIN = 210.0, 297.0, 18.0
"""Of a page, in mm."""

SHOWN = 60
"""Rows of a table that the pages show."""

TEXT, CELL, HEAD = 9.0, 6.5, 13.0
"""Of letters, in points."""


def write_pdf(report: Report, path: Path) -> None:
    """Write the report as PDF."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_pdf import PdfPages

    pages = _Pages()
    pages.lines(report.title, HEAD + 3, bold=True)
    pages.lines(report.subtitle, TEXT)
    for section in report.sections:
        _section(pages, section)
    pages.lines("References", HEAD, bold=True)
    pages.lines("What was used, as BibTeX.", TEXT)
    for line in report.bibtex.splitlines():
        pages.lines(line or " ", CELL, mono=True)
    silent: dict[str, Any] = {"Creator": None, "Producer": None, "CreationDate": None, "Title": report.title}
    with warnings.catch_warnings(), rc_context({"pdf.fonttype": 42}):
        warnings.filterwarnings("ignore", "Glyph")  # a letter that the font has not is drawn as a box
        with PdfPages(path, metadata=silent) as file:
            for number, page in enumerate(pages.made, 1):
                page.text(0.5, 9 / HIGH, f"{number} of {len(pages.made)}", ha="center", fontsize=CELL)
                file.savefig(page, dpi=DPI)


def _section(pages: _Pages, section: Section) -> None:
    pages.room(48)
    pages.skip(4)
    pages.lines(section.title, HEAD, bold=True)
    for line in section.text:
        pages.lines(line, TEXT)
    if section.caveats:
        pages.lines("What speaks against it", TEXT, bold=True, color="#b34700")
        for line in section.caveats:
            pages.lines(f"• {line}", TEXT, color="#b34700")
    for picture in section.pictures:
        pages.picture(picture)
    for table in section.tables:
        if not table.hidden:
            pages.table(table)
    for line in section.code.splitlines():
        pages.lines(line or " ", CELL, mono=True)


class _Pages:
    """Pages that are filled from top to bottom; lengths in mm."""

    def __init__(self) -> None:
        self.made: list[Figure] = []
        self.y = HIGH

    def room(self, height: float) -> None:
        """Begin a new page where there is no room for so much on this one."""
        if not self.made or self.y + height > HIGH - MARGIN:
            self.made.append(new_figure(WIDE, HIGH))
            self.y = MARGIN

    def skip(self, height: float) -> None:
        if self.y > MARGIN:
            self.y += height

    def write(self, x: float, text: str, size: float, **look: Any) -> None:
        self.made[-1].text(
            x / WIDE, 1 - self.y / HIGH, text, fontsize=size, va="top", parse_math=False, **look
        )

    def lines(
        self, text: str, size: float, *, bold: bool = False, mono: bool = False, color: str = "black"
    ) -> None:
        """Write a paragraph."""
        step = size * INCH / 72 * 1.35
        letter = (0.6 if bold or mono else 0.51) * size * INCH / 72
        look = {"weight": "bold" if bold else "normal", "family": "monospace" if mono else "sans-serif"}
        count = int((WIDE - 2 * MARGIN) / letter)
        for line in textwrap.wrap(text, count, drop_whitespace=not mono) or [""]:
            self.room(step)
            self.write(MARGIN, line, size, color=color, **look)
            self.y += step
        self.y += step * (0 if mono else 0.4)

    def picture(self, picture: Picture) -> None:
        """Place a picture with its caption."""
        figure = picture.draw()
        width, height = figure.get_figwidth() * INCH, figure.get_figheight() * INCH
        most = WIDE - 2 * MARGIN, HIGH - 2 * MARGIN - 20
        scale = min(1.0 if picture.vector else most[0] / width, most[0] / width, most[1] / height)
        self.room(height * scale + 12)
        box = (
            MARGIN / WIDE,
            1 - (self.y + height * scale) / HIGH,
            width * scale / WIDE,
            height * scale / HIGH,
        )
        axes = self.made[-1].add_axes(box)
        axes.imshow(pixels_of(figure), aspect="auto", interpolation="none")
        axes.set_axis_off()
        self.y += height * scale + 2
        self.lines(picture.caption, TEXT - 1.5)

    def table(self, table: Table) -> None:
        """Write a table: its head again on every page."""
        self.room(25)
        self.skip(2)
        self.lines(table.title, TEXT, bold=True)
        widths = _widths(table)
        for chunk in _columns(widths, _leading(table, widths)):  # one that is too wide continues below
            self._head(table, chunk, widths)
            for row in table.rows[:SHOWN]:
                cells = [fitted(written(row[k]), widths[k] - 1.5, CELL, 4) for k in chunk]
                high = CELL * INCH / 72 * 1.3 * max(text.count("\n") + 1 for text in cells) + 0.6
                before = len(self.made)
                self.room(high)
                if len(self.made) > before:
                    self._head(table, chunk, widths)
                self._row(cells, chunk, widths, high)
            self.y += 3
        if len(table.rows) > SHOWN:
            self.lines(f"and {len(table.rows) - SHOWN} more rows.", TEXT - 1)

    def _head(self, table: Table, chunk: list[int], widths: list[float]) -> None:
        from matplotlib.lines import Line2D

        cells = [fitted(table.heads[k], widths[k] - 1.5, CELL * 1.1, 3) for k in chunk]
        high = CELL * INCH / 72 * 1.3 * max(text.count("\n") + 1 for text in cells) + 1
        self.room(high + 8)
        self._row(cells, chunk, widths, high, weight="bold")
        right = (MARGIN + sum(widths[k] for k in chunk)) / WIDE
        y = 1 - (self.y - 0.6) / HIGH
        self.made[-1].add_artist(Line2D([MARGIN / WIDE, right], [y, y], color=COLORS[0], linewidth=0.8))

    def _row(self, cells: list[str], chunk: list[int], widths: list[float], high: float, **look: Any) -> None:
        x = MARGIN
        for k, text in zip(chunk, cells, strict=True):
            self.write(x, text, CELL, linespacing=1.2, **look)
            x += widths[k]
        self.y += high


def _widths(table: Table) -> list[float]:
    """Return how wide the columns are: as their longest cell needs, within bounds."""
    letter = 0.6 * CELL * INCH / 72
    longest = [
        max(
            [
                max(map(len, table.heads[k].split()), default=1) * 1.25 + 1,
                *(len(written(row[k])) for row in table.rows[:SHOWN]),
            ]
        )
        for k in range(len(table.heads))
    ]
    return [float(np.clip(count * letter + 3, 11, 80 if len(longest) > 2 else 120)) for count in longest]


def _leading(table: Table, widths: list[float]) -> list[int]:
    """Return the columns that say what a row is: the first, and further words after it, as far as there is room."""
    out = [0]
    for k in range(1, len(widths)):
        words = all(isinstance(row[k], str) for row in table.rows)
        if not words or sum(widths[: k + 1]) > (WIDE - 2 * MARGIN) / 2:
            break
        out.append(k)
    return out


def _columns(widths: list[float], leading: list[int]) -> Iterator[list[int]]:
    """Divide columns into parts that fit on a page; those that say what a row is stand in each."""
    room, chunk = WIDE - 2 * MARGIN, list(leading)
    for k in range(len(leading), len(widths)):
        if sum(widths[c] for c in chunk) + widths[k] > room and len(chunk) > len(leading):
            yield chunk
            chunk = list(leading)
        chunk.append(k)
    yield chunk
