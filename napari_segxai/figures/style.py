"""How figures are made for print: widths of columns, colours that the colour-blind tell apart, fonts that stay in the file."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN, PAGE = 85.0, 180.0
"""Width of one column and of two in a journal, in mm."""

DPI = 300
"""Of what is stored as pixels."""

INCH = 25.4
"""mm."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Okabe and Ito's colours, which the colour-blind tell apart; the yellow, which is faint on paper, last."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""One for each colour, so that a figure can be read without them."""

SMALL, NORMAL = 6.0, 7.0
"""Of letters, in points."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure.

    Parameters
    ----------
    width, height
        In mm.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width / INCH, height / INCH), dpi=DPI)


def write_figure(figure: Figure, to: Any, kind: str | None = None, dpi: float = DPI) -> None:
    """Write a figure: pixels at 300 dpi, fonts in the file, letters of an SVG as outlines; no date and no name of a program.

    Parameters
    ----------
    to : Path or file
        Where to.
    kind
        "png", "pdf" or "svg"; by the ending of the path where it is None.
    dpi
        Of what is stored as pixels.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    kind = kind or Path(to).suffix[1:].lower()
    figure.set_dpi(dpi)
    # `Figure.savefig` draws twice what arranges itself.
    with rc_context(
        {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "segxai"}
    ):
        if kind == "png":
            FigureCanvasAgg(figure).print_png(to, metadata={"Software": None})
        elif kind == "pdf":
            silent = {"Creator": None, "Producer": None, "CreationDate": None}
            FigureCanvasPdf(figure).print_pdf(to, metadata=silent)
        else:
            FigureCanvasSVG(figure).print_svg(to, metadata={"Creator": None, "Date": None})


def pixels_of(figure: Figure, dpi: float = DPI) -> np.ndarray:
    """Draw a figure; returns red, green and blue, of shape (rows, columns, 3), from 0 to 255."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def fitted(text: str, width: float, size: float = SMALL, lines: int = 2) -> str:
    """Break a text so that it fits into a width, and cut it where it is longer than so many lines.

    Parameters
    ----------
    width
        In mm.
    size
        Of the letters, in points.
    """
    letter = 0.57 * size * INCH / 72  # of DejaVu Sans, on the average; wide enough for capitals now and then
    count = max(int(width / letter), 4)
    lines_of_words = textwrap.wrap(text, count, break_on_hyphens=True, break_long_words=False)
    found = [part for line in lines_of_words for part in _parts(line, count)] or [""]
    if len(found) > lines:
        found = [*found[: lines - 1], found[lines - 1][: count - 1] + "…"]
    return "\n".join(found)


def _parts(line: str, count: int) -> list[str]:
    """Break a word that is longer than a line behind a mark in it, such as that of a file's name, else where the line ends."""
    out = []
    while len(line) > count:
        end = max(map(line[:count].rfind, "_./")) + 1 or count
        out.append(line[:end])
        line = line[end:]
    return [*out, line]


def round_length(most: float) -> float:
    """Return the longest of 1, 2 and 5 times a power of ten that is no longer than `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (5, 2, 1) if step * power <= most * (1 + 1e-9))
