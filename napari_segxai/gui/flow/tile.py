"""One tile of the information flow: the map of a label at a network layer, in the plane that the viewer shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import QPoint, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_segxai.analyses.flow import tiles, wording
from napari_segxai.analyses.flow.result import Flow
from napari_segxai.analyses.flow.tiles import Tile
from napari_segxai.figures.planes import cut
from napari_segxai.gui.widgets.fields import tip

OUTLINE = (255, 255, 255, 150)
"""Of the prediction: red, green, blue, opacity."""

OUTLINE_CELLS = 96
GAP = 3


class TileView(QWidget):
    """Shows a tile with its numbers below; drawn when it comes into sight, and again when the slice changes.

    Attributes
    ----------
    clicked
        The tile was clicked: (label, layer, whether Ctrl was held).
    hovered
        The mouse came over it, or left it: (label, layer, whether it is over it).
    """

    clicked = Signal(str, str, bool)
    hovered = Signal(str, str, bool)

    def __init__(self, flow: Flow, tile: Tile, outline: np.ndarray, parent: QWidget | None = None):
        super().__init__(parent)
        self.flow, self.tile = flow, tile
        self._map: np.ndarray | None = None
        self._outline = outline
        self._picture: QImage | None = None
        self._rim: QImage | None = None
        self.position, self.axis, self.transposed = 0.5, 0, False
        self.end = 1.0
        self.is_selected = self.is_emergence = False
        self._width = 72
        self._over = False
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(f"{tile.label} at {tile.layer.name}")
        self.refresh()

    def refresh(self) -> None:
        """Take over numbers and advice that have changed."""
        self.setToolTip(tip("\n".join([*wording.describe(self.tile), *(f"⚠ {a}" for a in self.tile.advice)])))
        self._fit()

    @property
    def least_width(self) -> int:
        """The width in pixels that the numbers need."""
        return max(map(self.fontMetrics().horizontalAdvance, wording.captions(self.tile))) + GAP

    def set_width(self, width: int) -> None:
        """Set the width in pixels."""
        self._width = width
        self._fit()

    def set_end(self, end: float) -> None:
        """Set where the colour scale ends."""
        self.end = end
        self._picture = None
        self.update()

    def set_plane(self, axis: int, position: float, transposed: bool = False) -> None:
        """Cut the volume at a position from 0 to 1 along a displayed axis."""
        if (axis, position, transposed) == (self.axis, self.position, self.transposed):
            return
        turned = (axis, transposed) != (self.axis, self.transposed)
        self.axis, self.position, self.transposed = axis, position, transposed
        self._picture = self._rim = None
        if turned:
            self._fit()
        self.update()

    def values(self) -> np.ndarray:
        """Return the raw values that are shown, (rows, columns)."""
        if self._map is None:
            self._map = tiles.upright(self.tile.map, self.flow.placement, self.flow.image)
        plane = cut(self._map, self.position, self.axis)
        return plane.T if self.transposed else plane

    def select(self, on: bool) -> None:
        """Mark the tile, or remove the mark."""
        self.is_selected = on
        self.update()

    def sizeHint(self) -> QSize:
        """Width as set, height as the image and the numbers need it."""
        lines = len(wording.captions(self.tile)) * self.fontMetrics().height()
        return QSize(self._width, self._map_height() + lines + 2 * GAP)

    def _map_height(self) -> int:
        height, width = tiles.extent(self.flow.placement, self.flow.image, self.axis)
        if self.transposed:
            height, width = width, height
        return int(np.clip((self._width - 2 * GAP) * height / width, 16, 3 * self._width))

    def _fit(self) -> None:
        self.setFixedSize(self.sizeHint())
        self.update()

    def _draw(self) -> None:
        self._picture = _image(tiles.colors(self.values(), self.end))
        mask = cut(self._outline, self.position, self.axis)
        rim = tiles.edge(mask.T if self.transposed else mask, OUTLINE_CELLS)
        self._rim = _image(rim[..., None] * np.array(OUTLINE, np.uint8))

    def paintEvent(self, event: Any) -> None:
        """Draw map, outline, frame and numbers."""
        if self._picture is None or self._rim is None:
            self._draw()
        painter = QPainter(self)
        box = QRect(GAP, GAP, self._width - 2 * GAP, self._map_height())
        painter.drawImage(box, self._picture)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawImage(box, self._rim)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)
        palette = self.palette()
        color = (
            palette.highlight().color()
            if self.is_selected
            else palette.text().color()
            if self._over or self.hasFocus()
            else QColor("#e08a00")
            if self.is_emergence
            else None
        )
        if color is not None:
            painter.setPen(QPen(color, 2))
            painter.drawRect(box.adjusted(-1, -1, 1, 1))
        painter.setPen(palette.text().color())
        step, top = self.fontMetrics().height(), box.bottom() + 2
        for k, line in enumerate(wording.captions(self.tile)):
            where = QRect(QPoint(0, top + k * step), QSize(self._width, step))
            painter.drawText(where, Qt.AlignmentFlag.AlignCenter, line)
        painter.end()

    def mouseReleaseEvent(self, event: Any) -> None:
        """Click."""
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(event.position().toPoint()):
            ctrl = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
            self.clicked.emit(self.tile.label, self.tile.layer.name, ctrl)

    def keyPressEvent(self, event: Any) -> None:
        """Enter and Space click."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.clicked.emit(self.tile.label, self.tile.layer.name, False)
        else:
            super().keyPressEvent(event)

    def enterEvent(self, event: Any) -> None:
        """Hover."""
        self._hover(True)

    def leaveEvent(self, event: Any) -> None:
        """The mouse has left the tile."""
        self._hover(False)

    def _hover(self, over: bool) -> None:
        self._over = over
        self.hovered.emit(self.tile.label, self.tile.layer.name, over)
        self.update()


def _image(pixels: np.ndarray) -> QImage:
    """Return (rows, columns, 3 or 4) bytes as a picture that owns its pixels."""
    pixels = np.ascontiguousarray(pixels.astype(np.uint8))
    rows, columns, channels = pixels.shape
    kind = QImage.Format.Format_RGB888 if channels == 3 else QImage.Format.Format_RGBA8888
    return QImage(pixels.tobytes(), columns, rows, channels * columns, kind).copy()
