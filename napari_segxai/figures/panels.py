"""Panels of pictures for print: an image with its outlines, or a map with its colour bar, lettered and to one scale."""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.figures.colormaps import SIGNED
from napari_segxai.figures.style import COLORS, INCH, NORMAL, PAGE, SMALL, fitted, new_figure, round_length
from napari_segxai.figures.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NARROWEST = 33.0
"""Of a panel, in mm: narrower ones cannot be read."""

GAP, HEAD, BAR, ROW, LINE, EDGE = 2.5, 1.5, 5.5, 4.5, 2.6, 1.0
"""In mm: between panels; above a title; a colour bar with its numbers; title of a group; a line of text; around all."""

NAMED = 4
"""Labels that are named below a picture."""

LIGHT, DARK = "#ffffff", "#000000"


@dataclass(frozen=True)
class Outline:
    """The edge of a mask.

    Attributes
    ----------
    mask : numpy.ndarray
        Boolean (rows, columns).
    dashed : bool
        Whether it is dashed, so that two can be told apart without colours.
    """

    mask: np.ndarray
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes
    ----------
    title : str
        Above it.
    ground : numpy.ndarray
        (rows, columns): an image, grey, in [0, 1]; or a map, raw.
    scale : tuple of float, optional
        Ends of the colour scale of a map, the lower of which is below 0 for a map that speaks for and against; None for an image.
    unit : str
        Of a map, below its colour bar.
    labels : numpy.ndarray, optional
        (rows, columns): label values, drawn over it; 0 is none.
    names : tuple of str
        Of the label values, from 0 on; what is seen of them is named below the picture.
    outlines : tuple of Outline
        On top.
    note : str
        What is written in place of a picture that is not there.
    """

    title: str
    ground: np.ndarray
    scale: tuple[float, float] | None = None
    unit: str = ""
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()
    outlines: tuple[Outline, ...] = ()
    note: str = ""

    @property
    def legend(self) -> list[int]:
        """The label values that are seen and have a name."""
        seen = [] if self.labels is None else np.unique(self.labels).tolist()
        return [value for value in seen if 0 < value < len(self.names)]


@dataclass(frozen=True)
class Group:
    """Panels of one image.

    Attributes
    ----------
    title : str
        Above them.
    panels : tuple of Panel
        All of one shape.
    spacing : tuple of float
        Height and width of a pixel.
    units : str
        Of the spacing; "" or "pixel" where it is none of length, so that there is no scale bar.
    """

    title: str
    panels: tuple[Panel, ...]
    spacing: tuple[float, float] = (1.0, 1.0)
    units: str = ""


def draw_panels(groups: Sequence[Group], caption: str = "", *, width: float = PAGE) -> Figure:
    """Draw panels in a grid, lettered a, b, c; those of a group under its title, and the caption below all.

    Parameters
    ----------
    groups
        One at least, with one panel at least.
    caption
        What has to be known of all.
    width
        Of the figure, in mm.

    Returns
    -------
    matplotlib.figure.Figure
        Not yet saved; see `style.write_figure`.
    """
    most = max(len(group.panels) for group in groups)
    inner = width - 2 * EDGE
    columns = min(most, max(1, int((inner + GAP) / (NARROWEST + GAP))))
    columns = math.ceil(most / math.ceil(most / columns))  # rows of nearly one length
    wide = (inner - GAP * (columns - 1)) / columns
    below = fitted(caption, inner * 1.1, SMALL, 8)
    rows = [_Row(group, list(own), wide) for group in groups for own in _chunks(group.panels, columns)]
    total = 2 * EDGE + sum(row.height for row in rows) + ROW * sum(bool(group.title) for group in groups)
    total += LINE * (below.count("\n") + 1) + EDGE if caption else 0.0
    figure = new_figure(width, total)
    letters = _letters() if sum(len(row.panels) for row in rows) > 1 else itertools.repeat("")
    top, last = EDGE, None
    for row in rows:
        if row.group is not last and row.group.title:
            text = plain(fitted(row.group.title, inner, NORMAL, 1))
            figure.text(EDGE / width, 1 - top / total, text, fontsize=NORMAL, weight="bold", va="top")
            top += ROW
        last = row.group
        for k, panel in enumerate(row.panels):
            left, under = EDGE + k * (wide + GAP), top + row.head
            drawn = min(wide, row.picture / _aspect(row.group, panel))  # narrower where it would be too high
            _title(figure, (left, under - 0.9), panel.title, next(letters), wide)
            box = (left / width, 1 - (under + row.picture) / total, drawn / width, row.picture / total)
            axes = figure.add_axes(box)
            _draw(axes, panel, row.group)
            if panel.scale:
                bar = (box[0], box[1] - 2.4 / total, box[2], 1.6 / total)
                _bar(figure.add_axes(bar), panel, drawn)
            _legend(figure, (left, under + row.picture + EDGE), panel, drawn)
        top += row.height
    if caption:
        figure.text(EDGE / width, 1 - top / total, plain(below), fontsize=SMALL, va="top")
    return figure


class _Row:
    """Panels beside each other, and how high they are, in mm."""

    def __init__(self, group: Group, panels: list[Panel], wide: float):
        self.group, self.panels = group, panels
        self.head = HEAD + LINE * max(len(_lines(panel.title, wide)) for panel in panels)
        # true to its pixels, unless that were too high
        self.picture = float(np.clip(wide * _aspect(group, panels[0]), 6.0, 2.0 * wide))
        bars = [panel for panel in panels if panel.scale]
        units = max((fitted(panel.unit, wide).count("\n") + 1 for panel in bars), default=0)
        named = EDGE + LINE * max(min(len(panel.legend), NAMED) for panel in panels)
        self.height = self.head + self.picture + max(BAR + LINE * units if bars else EDGE, named)


def _lines(title: str, wide: float) -> list[str]:
    return fitted(title, wide - 4).split("\n")


def _chunks(panels: Sequence[Panel], count: int) -> Iterator[Sequence[Panel]]:
    return (panels[k : k + count] for k in range(0, len(panels), count))


def _letters() -> Iterator[str]:
    """Yield a, b, ... z, aa, ab, ..."""
    for length in itertools.count(1):
        yield from ("".join(letters) for letters in itertools.product(string.ascii_lowercase, repeat=length))


def _aspect(group: Group, panel: Panel) -> float:
    rows, columns = panel.ground.shape
    return rows * group.spacing[0] / (columns * group.spacing[1])


def _title(figure: Figure, at: tuple[float, float], title: str, letter: str, wide: float) -> None:
    """Write letter and title of a panel, whose last line lies at a place in mm from the upper left."""
    width, height = figure.get_figwidth() * INCH, figure.get_figheight() * INCH
    lines = _lines(title, wide)
    for k, line in enumerate(lines):
        y = 1 - (at[1] - LINE * (len(lines) - 1 - k)) / height
        if k == 0:
            figure.text(at[0] / width, y, letter, fontsize=NORMAL, weight="bold", va="baseline")
        figure.text((at[0] + 4 * bool(letter)) / width, y, plain(line), fontsize=SMALL, va="baseline")


def _draw(axes: Axes, panel: Panel, group: Group) -> None:
    from matplotlib.colors import ListedColormap

    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if panel.note:
        axes.set_facecolor("#eeeeee")
        axes.text(
            0.5, 0.5, plain(panel.note), ha="center", va="center", transform=axes.transAxes, fontsize=SMALL
        )
        return
    stretch = group.spacing[0] / group.spacing[1]
    if panel.scale is None:
        axes.imshow(panel.ground, cmap="gray", vmin=0, vmax=1, aspect=stretch, interpolation="nearest")
    else:
        low, high = panel.scale
        axes.imshow(
            panel.ground, cmap=_colors(low), vmin=low, vmax=high, aspect=stretch, interpolation="nearest"
        )
    if panel.labels is not None and panel.labels.any():
        shown = np.ma.masked_equal((panel.labels - 1) % len(COLORS), -1 % len(COLORS))
        shown = np.ma.masked_where(panel.labels == 0, shown)
        axes.imshow(
            shown, cmap=ListedColormap(COLORS), vmin=-0.5, vmax=len(COLORS) - 0.5, alpha=0.6,
            aspect=stretch, interpolation="nearest",
        )  # fmt: skip
    axes.set_autoscale_on(False)
    for outline in panel.outlines:
        if outline.mask.any() and not outline.mask.all():
            for color, line in ((DARK, 1.3), (LIGHT, 0.7)):  # to be seen on light and on dark
                axes.contour(
                    outline.mask.astype(float), levels=[0.5], colors=color, linewidths=line,
                    linestyles="dashed" if outline.dashed and color == LIGHT else "solid",
                )  # fmt: skip
    if panel.scale is None and group.units not in ("", "pixel") and panel is group.panels[0]:
        _scale_bar(axes, panel.ground.shape, group)


def _legend(figure: Figure, at: tuple[float, float], panel: Panel, wide: float) -> None:
    """Name the labels that are seen in a picture, below a place in mm from the upper left."""
    from matplotlib.patches import Rectangle

    width, height = figure.get_figwidth() * INCH, figure.get_figheight() * INCH
    seen = panel.legend
    for k, value in enumerate(seen[:NAMED]):
        more = f" and {len(seen) - NAMED} more" if k == NAMED - 1 and len(seen) > NAMED else ""
        y = 1 - (at[1] + LINE * k + 2.0) / height
        color = COLORS[(value - 1) % len(COLORS)]
        box = Rectangle((at[0] / width, y), 2 / width, 1.6 / height, facecolor=color, alpha=0.75)
        figure.add_artist(box)
        name = plain(fitted(panel.names[value], wide - 3 - len(more), lines=1)) + more
        figure.text((at[0] + 3) / width, y, name, fontsize=SMALL - 0.5, va="baseline")


def _scale_bar(axes: Axes, shape: tuple[int, ...], group: Group) -> None:
    """Draw a bar of a round length, a quarter of the width at most, with its length above."""
    from matplotlib.patheffects import withStroke

    rows, columns = shape
    length = round_length(columns * group.spacing[1] / 4)
    right, y = columns * 0.96 - 0.5, rows * 0.94 - 0.5
    edge = [withStroke(linewidth=2.6, foreground=DARK)]
    axes.plot(
        [right - length / group.spacing[1], right], [y, y], color=LIGHT, linewidth=1.6, path_effects=edge
    )
    text = axes.text(
        right, y - rows * 0.03, f"{length:g} {group.units}", color=LIGHT, fontsize=SMALL - 0.5, ha="right"
    )
    text.set_path_effects([withStroke(linewidth=1.4, foreground=DARK)])


def _bar(axes: Axes, panel: Panel, wide: float) -> None:
    """Draw the colour bar of a map: its ends, 0 where it lies between, and the unit."""
    low, high = panel.scale or (0.0, 1.0)
    axes.imshow(np.linspace(0, 1, 256)[None], cmap=_colors(low), aspect="auto", extent=(0, 1, 0, 1))
    middle = [(0.5, "0", "center")] if low < 0 else []
    for x, text, side in ((0.0, _number(low, high), "left"), *middle, (1.0, _number(high, high), "right")):
        axes.text(x, -0.3, text, ha=side, va="top", fontsize=SMALL - 0.5, transform=axes.transAxes)
    unit = plain(fitted(panel.unit, wide))
    axes.text(0.5, -1.75, unit, ha="center", va="top", fontsize=SMALL - 0.5, transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)


def _colors(low: float) -> Any:
    """Return the colours of a map: those for and against where it has values below 0."""
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    if low < 0:
        return LinearSegmentedColormap.from_list("against-for", SIGNED["colors"][:, :3])
    return colormaps["inferno"]


def _number(value: float, end: float) -> str:
    """Return an end of a scale as it is written: 0 where it is next to nothing of the other end."""
    return "0" if abs(value) < 1e-4 * abs(end) else f"{value:.2g}".replace("-", "\N{MINUS SIGN}")
