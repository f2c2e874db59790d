"""Buttons that results about folders of cases have in common."""

from __future__ import annotations

from qtpy.QtWidgets import QPushButton

from napari_segxai.gui.cases.table import FrameTable


def copy_button(table: FrameTable) -> QPushButton:
    """Return a button that copies the rows of a table."""
    button = QPushButton("Copy as CSV")
    button.setToolTip("Copy the rows that are shown to the clipboard, in the order in which they are shown.")
    button.clicked.connect(lambda: table.copy())
    return button


def pin_button() -> QPushButton:
    """Return the button by which the layers of a case stay when another case is opened."""
    button = QPushButton("Pin")
    button.setToolTip("Keep the layers of this case when another case is opened.")
    return button


def open_button(tip: str) -> QPushButton:
    """Return the button that opens results which were saved."""
    button = QPushButton("Open results…")
    button.setToolTip(tip)
    return button
