"""Reference crops beside each other; a click on one asks for its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from qtpy.QtCore import QRect, QSize, Qt, Signal
from qtpy.QtGui import QImage, QPainter, QPen
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QFlowLayout

from napari_segxai.analyses.concepts.crops import Crop
from napari_segxai.core.gallery import Picture
from napari_segxai.gui.viewer.runs import shortened
from napari_segxai.gui.widgets.fields import Words, combo, tip

SIDE, EDGE = 112, 2
"""Of a picture, and of the frame around it, in pixels."""

LONGEST = 18
"""Characters of the name of a case below its crop."""


@dataclass(frozen=True, eq=False)
class Tile:
    """One picture.

    Attributes
    ----------
    pixels
        As it is drawn: uint8 (rows, columns, 3).
    plain
        The same without the map that lies over it; None where there is no map.
    caption, about
        Below it, and what the mouse tells.
    case, name
        Which case a click opens, with which map; "" for none.
    place
        The slice of the case that a click goes to.
    spacing
        Height and width of a pixel.
    at
        Index on the image grid of the case at which its middle lies, which a click marks; empty where a map says where.
    """

    pixels: np.ndarray
    plain: np.ndarray | None
    caption: str
    about: str
    case: str = ""
    name: str = ""
    place: tuple[int, int] | None = None
    spacing: tuple[float, float] = (1.0, 1.0)
    at: tuple[int, ...] = ()

    @classmethod
    def of_crop(cls, crop: Crop) -> Tile:
        """Return a crop of a map."""
        caption = crop.case if crop.place is None else f"{crop.case}, slice {crop.place[1]}"
        about = f"{crop.name}\n{caption}"
        pictures = crop.picture(), crop.picture(with_map=False)
        return cls(*pictures, caption, about, crop.case, crop.name, crop.place, crop.spacing)

    @classmethod
    def of_picture(cls, picture: Picture, place: tuple[int, int] | None) -> Tile:
        """Return a picture of a gallery."""
        words = picture.text or picture.case
        about = f"{picture.row}\n{words}"
        return cls(picture.pixels, None, words, about, picture.case, place=place, at=picture.at)


class TileView(QWidget):
    """Draws one picture, with its name below.

    Attributes
    ----------
    clicked
        It was clicked, or chosen with the keyboard.
    """

    clicked = Signal()

    def __init__(self, tile: Tile, *, with_map: bool):
        super().__init__()
        self.tile, self.is_chosen = tile, False
        pixels = np.ascontiguousarray(tile.pixels if with_map or tile.plain is None else tile.plain)
        rows, columns = pixels.shape[:2]
        made = QImage(pixels.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888)
        self._picture = made.copy()  # which owns its pixels
        height, width = rows * tile.spacing[0], columns * tile.spacing[1]
        longer = max(height, width)
        self._size = QSize(max(1, round(SIDE * width / longer)), max(1, round(SIDE * height / longer)))
        self.setToolTip(tip(tile.about + ("\nA click shows it in the viewer." if tile.case else "")))
        self.setAccessibleName(tile.about.replace("\n", ", "))
        if tile.case:
            self.setCursor(Qt.CursorShape.PointingHandCursor)
            self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setFixedSize(SIDE + 2 * EDGE, SIDE + 2 * EDGE + self.fontMetrics().height())

    def choose(self, on: bool) -> None:
        """Mark it, or remove the mark."""
        self.is_chosen = on
        self.update()

    def paintEvent(self, event: Any) -> None:
        """Draw picture, mark and name."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        box = QRect(EDGE, EDGE, SIDE, SIDE)
        own = QRect(box.topLeft(), self._size)
        own.moveCenter(box.center())
        painter.drawImage(own, self._picture)
        palette = self.palette()
        if self.is_chosen or self.hasFocus():
            painter.setPen(QPen(palette.highlight().color() if self.is_chosen else palette.text().color(), 2))
            painter.drawRect(own.adjusted(-1, -1, 0, 0))
        painter.setPen(palette.text().color())
        below = QRect(0, box.bottom() + 1, self.width(), self.fontMetrics().height())
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, shortened(self.tile.caption, LONGEST))
        painter.end()

    def mouseReleaseEvent(self, event: Any) -> None:
        """Click."""
        left = event.button() == Qt.MouseButton.LeftButton
        if self.tile.case and left and self.rect().contains(event.position().toPoint()):
            self.clicked.emit()

    def keyPressEvent(self, event: Any) -> None:
        """Enter and Space click."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.clicked.emit()
        else:
            super().keyPressEvent(event)


class CropGallery(QWidget):
    """The pictures of a unit or concept.

    Attributes
    ----------
    opened
        A `Tile` was clicked.
    asked
        Crops are asked for in another way: parts of images, or whole ones.
    looked
        It is to be looked for what there is no picture of.
    """

    opened = Signal(object)
    asked = Signal()
    looked = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.views: list[TileView] = []
        self.part_box = combo("Show the part in which the map is strongest, or the whole image or slice.")
        self.part_box.addItem("strongest part", False)
        self.part_box.addItem("whole image", True)
        self.map_box = combo("Show the map over the image, or the image alone.")
        self.map_box.addItem("with the map", True)
        self.map_box.addItem("image alone", False)
        self.look = QPushButton()
        self.look.setToolTip(
            "Run the network on all cases once more, and keep those in which this unit is strongest."
        )
        self.look.hide()
        self.words = Words(3)
        self._tiles: Sequence[Tile] = ()
        inside = QWidget()
        self._flow = QFlowLayout(inside)
        self._flow.setContentsMargins(0, 0, 0, 0)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inside)
        top = QHBoxLayout()
        top.addWidget(self.part_box, 1)
        top.addWidget(self.map_box, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 2, 0, 0)
        column.setSpacing(2)
        column.addLayout(top)
        column.addWidget(self.words)
        column.addWidget(self.look)
        column.addWidget(scroll, 1)
        self.look.clicked.connect(self.looked)
        self.part_box.currentIndexChanged.connect(lambda _: self.asked.emit())
        self.map_box.currentIndexChanged.connect(lambda _: self.set_tiles(self._tiles, self.words.text()))

    @property
    def whole(self) -> bool:
        """Whether whole images are asked for."""
        return self.part_box.currentData()

    def set_tiles(self, tiles: Sequence[Tile], words: str, look: str = "") -> None:
        """Show other pictures, and say what they are, or why there are none; `look` offers to look for some."""
        self.look.setText(look)
        self.look.setVisible(bool(look))
        chosen = [(view.tile.case, view.tile.about) for view in self.views if view.is_chosen]
        while self._flow.count():
            self._flow.takeAt(0).widget().deleteLater()
        self._tiles = tiles
        self.views = [TileView(tile, with_map=self.map_box.currentData()) for tile in tiles]
        for view in self.views:
            view.choose((view.tile.case, view.tile.about) in chosen)
            view.clicked.connect(lambda view=view: self._on_clicked(view))
            self._flow.addWidget(view)
        for box in (self.part_box, self.map_box):
            box.setVisible(any(tile.plain is not None for tile in tiles))
        self.words.setText(words)
        self.words.setVisible(bool(words))

    def _on_clicked(self, view: TileView) -> None:
        for other in self.views:
            other.choose(other is view)
        self.opened.emit(view.tile)
