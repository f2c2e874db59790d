"""Small pictures in rows (`core.gallery.Gallery`), as docks show them."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QGridLayout, QLabel, QScrollArea, QWidget

from napari_segxai.core.gallery import Gallery, Picture
from napari_segxai.gui.widgets.fields import plain_label

SIDE = 112
"""Of a picture, in pixels."""


class PicturesView(QScrollArea):
    """Shows a gallery, a row of pictures for each of its rows."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setWidgetResizable(True)

    def show_gallery(self, gallery: Gallery) -> None:
        """Show another gallery."""
        self.setWidget(_laid_out(gallery))


def _laid_out(gallery: Gallery) -> QWidget:
    """Lay the pictures of a gallery out, a row for each of its rows."""
    inside = QWidget()
    grid = QGridLayout(inside)
    for row, (name, pictures) in enumerate(gallery.rows().items()):
        title = plain_label()
        title.setText(name)
        grid.addWidget(title, 2 * row, 0)
        for column, picture in enumerate(pictures, 1):
            grid.addWidget(_picture(picture), 2 * row, column, Qt.AlignmentFlag.AlignLeft)
            text = plain_label()
            text.setText(picture.text)
            grid.addWidget(text, 2 * row + 1, column, Qt.AlignmentFlag.AlignTop)
    grid.setRowStretch(grid.rowCount(), 1)
    grid.setColumnStretch(grid.columnCount(), 1)
    return inside


def _picture(picture: Picture) -> QLabel:
    pixels = picture.pixels
    rows, columns = pixels.shape[:2]
    image = QImage(pixels.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888).copy()
    label = QLabel()
    label.setPixmap(QPixmap.fromImage(image).scaled(SIDE, SIDE, Qt.AspectRatioMode.KeepAspectRatio))
    label.setToolTip(picture.text)
    return label
