"""The picture of comparisons: a group of panels for every case; image, prediction and maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_segxai.core.errors import UserError
from napari_segxai.figures.panels import Group, Outline, Panel, draw_panels
from napari_segxai.figures.style import PAGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class DrawnMap:
    """One slice of a map, and the ends of the whole map.

    Attributes
    ----------
    values : numpy.ndarray
        (rows, columns), raw.
    low : float
        The lowest value of the whole map.
    end : float
        The largest magnitude in the whole map.
    unit : str
        Of its values.
    """

    values: np.ndarray
    low: float
    end: float
    unit: str = ""


@dataclass(frozen=True)
class Drawn:
    """What a picture needs of a comparison: one slice of everything, as it is shown.

    Attributes
    ----------
    name, label : str
        Of the image, and what is explained.
    ground : numpy.ndarray
        (rows, columns): the image, grey, in [0, 1].
    prediction : numpy.ndarray
        (rows, columns): label values.
    maps : dict of str to DrawnMap
        By name.
    object : numpy.ndarray, optional
        Boolean (rows, columns): where the label is predicted; any label where it is None.
    truth : numpy.ndarray, optional
        Boolean (rows, columns): where the label really is.
    spacing : tuple of float
        Height and width of a pixel.
    units : str
        Of the spacing.
    place : str
        Which slice it is, in words.
    labels : tuple of str
        Names of the label values.
    """

    name: str
    label: str
    ground: np.ndarray
    prediction: np.ndarray
    maps: dict[str, DrawnMap]
    object: np.ndarray | None = None
    truth: np.ndarray | None = None
    spacing: tuple[float, float] = (1.0, 1.0)
    units: str = ""
    place: str = ""
    labels: tuple[str, ...] = ()


def picture(rows: Sequence[Drawn], *, common: bool = False, width: float = PAGE) -> Figure:
    """Draw a group of panels for every case: image, prediction and maps (Hasany et al. 2026, figures 1 to 3).

    Parameters
    ----------
    rows : sequence of Drawn
        The cases, one at least.
    common : bool, default: False
        Whether the maps of a case share one colour scale; they should only where their methods share a unit.
    width : float
        In mm: 180 for two columns of a journal, 85 for one.

    Returns
    -------
    matplotlib.figure.Figure
        Not yet saved.

    Raises
    ------
    UserError
        If there is no map.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.maps))
    if not names:
        raise UserError("there is no map to draw yet.")
    return draw_panels([group_of(row, names, common) for row in rows], caption_of(rows, common), width=width)


def group_of(row: Drawn, names: Sequence[str], common: bool = False) -> Group:
    """Return the panels of one case: its image, its prediction, and the maps of these names.

    Parameters
    ----------
    common
        Whether its maps share one colour scale.
    """
    predicted = row.prediction > 0 if row.object is None else row.object
    outlines = [Outline(predicted)]
    if row.truth is not None:
        outlines.append(Outline(row.truth, dashed=True))
    panels = [
        Panel("image", row.ground),
        Panel(
            "prediction", row.ground, labels=row.prediction, names=row.labels, outlines=tuple(outlines[1:])
        ),
    ]
    ends = {name: _scale([map]) for name, map in row.maps.items()}
    shared = _scale(list(row.maps.values()))
    for name in names:
        if name in row.maps:
            map, scale = row.maps[name], shared if common else ends[name]
            panels.append(Panel(name, map.values, scale, map.unit, outlines=tuple(outlines)))
        else:
            panels.append(Panel(name, row.ground, note="none"))
    title = " · ".join(part for part in (row.name, row.label, row.place) if part)
    return Group(title, tuple(panels), row.spacing, row.units)


def _scale(maps: Sequence[DrawnMap]) -> tuple[float, float]:
    """Return the ends of the colour scale of maps: of one that speaks against the label as well, 0 lies in the middle."""
    end = max((map.end for map in maps), default=0.0) or 1.0
    low = min((map.low for map in maps), default=0.0)
    if low < 0:
        return -end, end
    # a map without negative values may have a floor: what counts is what rises above it
    return (low, end) if low < end else (0.0, end)


def caption_of(rows: Sequence[Drawn], common: bool = False) -> str:
    """Say what has to be known to read the panels."""
    scales = (
        "The maps of a case share one colour scale." if common else "Every map has a colour scale of its own."
    )
    signed = any(map.low < 0 for row in rows for map in row.maps.values())
    truth = any(row.truth is not None for row in rows)
    return " ".join(
        [
            "Solid outline: the prediction"
            + (" of the label; dashed: the truth." if truth else " of the label."),
            scales,
            *(["Red speaks for the label, blue against it."] if signed else []),
        ]
    )
