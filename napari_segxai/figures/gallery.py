"""Pictures in rows for print: what `core/gallery.py` holds as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_segxai.core.gallery import Gallery
from napari_segxai.figures.style import NORMAL, PAGE, SMALL, fitted, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS, COLUMNS = 24, 12
"""Rows of a gallery that are drawn, and pictures of a row."""

LARGEST = 24.0
"""Of a picture, in mm."""

NAME, GAP, LINE, HEAD = 22.0, 1.5, 2.8, 7.0
"""In mm: the names of rows; between pictures; a line of text; the title."""


def draw_gallery(gallery: Gallery, *, width: float = PAGE) -> Figure:
    """Draw a gallery.

    Parameters
    ----------
    width
        In mm; the height fits what it shows.

    Returns
    -------
    matplotlib.figure.Figure
        Not yet saved; see `style.write_figure`. Rows and pictures beyond `ROWS` and `COLUMNS` are counted below it.
    """
    rows = gallery.rows()
    shown = {name: pictures[:COLUMNS] for name, pictures in list(rows.items())[:ROWS]}
    caption = fitted(gallery.caption + _left_out(rows), width, SMALL, 6)
    most = max((len(pictures) for pictures in shown.values()), default=1)
    edge = min(LARGEST, (width - NAME - 1) / most - GAP)
    texts = {
        name: [fitted(picture.text, edge + GAP, SMALL, 3) if picture.text else "" for picture in pictures]
        for name, pictures in shown.items()
    }
    lines = {name: max(text.count("\n") + (text != "") for text in texts[name]) for name in shown}
    below = LINE * (caption.count("\n") + 1) + 2 if caption else 1.0
    height = HEAD + sum(edge + GAP + LINE * lines[name] for name in shown) + below
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    about: dict[str, Any] = {"fontsize": SMALL, "va": "top", "parse_math": False}
    middle: dict[str, Any] = {**about, "va": "center"}
    title = fitted(gallery.title, width, NORMAL, 1)
    axes.text(1, 1.5, title, fontsize=NORMAL, va="top", parse_math=False)
    top = HEAD
    for name, pictures in shown.items():
        axes.text(1, top + edge / 2, fitted(name, NAME - 2, SMALL, 4), **middle)
        for k, (picture, text) in enumerate(zip(pictures, texts[name], strict=True)):
            left, pixels = NAME + k * (edge + GAP), picture.pixels
            scale = edge / max(pixels.shape[:2])
            across, down = pixels.shape[1] * scale, pixels.shape[0] * scale
            axes.imshow(pixels, extent=(left, left + across, top + down, top), interpolation="nearest")
            axes.text(left, top + edge + 0.3, text, **about)
        top += edge + GAP + LINE * lines[name]
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")  # imshow sets its own
    if caption:
        axes.text(1, top, caption, **about)
    return figure


def _left_out(rows: dict) -> str:
    """Say how many rows and pictures are not drawn."""
    out = []
    if len(rows) > ROWS:
        out.append(f"{len(rows) - ROWS} more rows are not drawn.")
    if (many := max((len(pictures) for pictures in rows.values()), default=0)) > COLUMNS:
        out.append(f"Of up to {many} pictures of a row {COLUMNS} are drawn.")
    return "".join(f" {sentence}" for sentence in out)
