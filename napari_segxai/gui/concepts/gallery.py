"""Reference crops beside each other; a click on one asks for its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QRect, QSize, Qt, Signal
from qtpy.QtGui import QImage, QPainter, QPen
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QFlowLayout

from napari_segxai.analyses.concepts.crops import Crop
from napari_segxai.gui.viewer.runs import shortened
from napari_segxai.gui.widgets.fields import Words, combo, tip

SIDE, EDGE = 112, 2
"""Of a picture, and of the frame around it, in pixels."""

LONGEST = 18
"""Characters of the name of a case below its crop."""


class CropView(QWidget):
    """One crop, and the case below it.

    Attributes
    ----------
    clicked
        It was clicked, or chosen with the keyboard.
    """

    clicked = Signal()

    def __init__(self, crop: Crop, *, with_map: bool):
        super().__init__()
        self.crop, self.is_chosen = crop, False
        pixels = crop.picture(with_map=with_map)
        rows, columns = pixels.shape[:2]
        made = QImage(pixels.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888)
        self._picture = made.copy()  # which owns its pixels
        height, width = rows * crop.spacing[0], columns * crop.spacing[1]
        longer = max(height, width)
        self._size = QSize(max(1, round(SIDE * width / longer)), max(1, round(SIDE * height / longer)))
        place = "" if crop.place is None else f", slice {crop.place[1]}"
        self.caption = crop.case + place
        self.setToolTip(tip(f"{crop.name}\n{self.caption}\nA click shows it in the viewer."))
        self.setAccessibleName(f"{crop.name} of {self.caption}")
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
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, shortened(self.caption, LONGEST))
        painter.end()

    def mouseReleaseEvent(self, event: Any) -> None:
        """Click."""
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(event.position().toPoint()):
            self.clicked.emit()

    def keyPressEvent(self, event: Any) -> None:
        """Enter and Space click."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.clicked.emit()
        else:
            super().keyPressEvent(event)


class Gallery(QWidget):
    """The crops of a unit or concept.

    Attributes
    ----------
    opened
        A crop was clicked.
    asked
        Crops are asked for in another way: parts of images, or whole ones.
    """

    opened = Signal(object)
    asked = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.views: list[CropView] = []
        self.part_box = combo("The part in which the map is strongest, or the whole image or slice.")
        self.part_box.addItem("strongest part", False)
        self.part_box.addItem("whole image", True)
        self.map_box = combo("Whether the map lies over the image.")
        self.map_box.addItem("with the map", True)
        self.map_box.addItem("image alone", False)
        self.words = Words(3)
        self._crops: Sequence[Crop] = ()
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
        column.addWidget(scroll, 1)
        self.part_box.currentIndexChanged.connect(lambda _: self.asked.emit())
        self.map_box.currentIndexChanged.connect(lambda _: self.set_crops(self._crops, self.words.text()))

    @property
    def whole(self) -> bool:
        """Whether whole images are asked for."""
        return self.part_box.currentData()

    def set_crops(self, crops: Sequence[Crop], words: str) -> None:
        """Show other crops, and say what they are, or why there are none."""
        chosen = [(view.crop.case, view.crop.name) for view in self.views if view.is_chosen]
        while self._flow.count():
            self._flow.takeAt(0).widget().deleteLater()
        self._crops = crops
        self.views = [CropView(crop, with_map=self.map_box.currentData()) for crop in crops]
        for view in self.views:
            view.choose((view.crop.case, view.crop.name) in chosen)
            view.clicked.connect(lambda view=view: self._on_clicked(view))
            self._flow.addWidget(view)
        self.words.setText(words)
        self.words.setVisible(bool(words))

    def _on_clicked(self, view: CropView) -> None:
        for other in self.views:
            other.choose(other is view)
        self.opened.emit(view.crop)
