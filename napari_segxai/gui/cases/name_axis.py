"""An axis of names that fit into the room between two places: whole, in two lines, or the part in which they differ."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtGui import QFont, QFontMetrics

from napari_segxai.gui.viewer.runs import shortened

LEAST = 26
"""Pixels below which a name says nothing: then every second one stands there, or every third, ..."""

READABLE = 50
"""Pixels below which it is better to leave out names than to cut them, if the others then fit whole."""

OVERHANG = 30
"""Pixels that the first and the last name may stand out of the axis: there is room beside it."""

GAP = 6
"""Pixels between two names."""

BESIDE = 22
"""Characters of a name beside an axis that goes up."""

BREAKS = re.compile(r"([ ._/-])")


class NameAxis(pg.AxisItem):
    """An axis with a name at each whole number, or with numbers where it has no names; the mouse tells what was cut."""

    def __init__(self, orientation: str):
        super().__init__(orientation)
        self._names: list[str] = []
        self._parts: list[str] = []
        self._room = 0.0
        self.enableAutoSIPrefix(False)
        if orientation == "bottom":
            self.setStyle(hideOverlappingLabels=OVERHANG)

    @property
    def count(self) -> int:
        """How many names there are."""
        return len(self._names)

    def set_names(self, names: Sequence[str]) -> None:
        """Show other names; none for an axis of numbers."""
        self._names, self._parts = list(names), differing(names)
        self.picture = None
        self.update()

    def tickValues(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, list[float]]]:
        """Return where names stand."""
        if not self._names:
            return super().tickValues(minVal, maxVal, size)
        room, step = size / max(maxVal - minVal, 1e-9), 1
        if self.orientation == "bottom":
            step = max(1, math.ceil(LEAST / room))
            if room * step < READABLE:  # of one that is cut to so little nothing can be read
                step = next((more for more in range(step, step + 3) if self._fit(room * more)), step)
        self._room = room * step
        last = min(len(self._names) - 1, math.floor(maxVal))
        return [(step, [k for k in range(0, last + 1, step) if k >= minVal])]

    def _fit(self, room: float) -> bool:
        """Tell whether every name fits whole into so many pixels, in one line or two."""
        metrics, room = self._metrics, int(room) - GAP
        return not any("…" in fitted(name, room, metrics) for name in self._parts)

    @property
    def _metrics(self) -> QFontMetrics:
        return QFontMetrics(self.style["tickFont"] or QFont())

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        """Return the names that stand at some places."""
        if not self._names:
            return super().tickStrings(values, scale, spacing)
        places = [round(value) for value in values]
        if self.orientation != "bottom":
            return [shortened(self._names[k], BESIDE) for k in places]
        metrics, room = self._metrics, int(self._room) - GAP
        if all(metrics.horizontalAdvance(name) <= room for name in self._names):
            return [self._names[k] for k in places]
        return [fitted(self._parts[k], room, metrics) for k in places]


def differing(names: Sequence[str]) -> list[str]:
    """Return names without the parts that all of them begin with, and end with; a name of one part stays, and does not count."""
    split: dict[str, list[str]] = {name: own for name in names if len(own := BREAKS.split(name)) > 1}
    for end in (0, -1):
        while (
            len(split) > 1
            and min(map(len, split.values())) > 2
            and len({o[end] for o in split.values()}) == 1
        ):
            split = {name: own[2:] if end == 0 else own[:-2] for name, own in split.items()}
    return ["".join(split.get(name, [name])) for name in names]


def fitted(name: str, room: int, metrics: QFontMetrics) -> str:
    """Return a name in one line or two, each of which has its middle cut out where it does not fit."""
    if metrics.horizontalAdvance(name) <= room:
        return name
    parts = BREAKS.split(name)
    ways = [("".join(parts[:k]).rstrip(), "".join(parts[k:]).lstrip()) for k in range(2, len(parts), 2)]
    lines = min(ways, key=lambda way: max(map(metrics.horizontalAdvance, way)), default=(name,))
    return "\n".join(metrics.elidedText(line, Qt.TextElideMode.ElideMiddle, room) for line in lines)
