"""Where concepts come from: the labels as they are, as they are drawn, or a folder of masks."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from napari_segxai.core.errors import UserError
from napari_segxai.core.paths import user_path
from napari_segxai.gui.cases.source import PathLine
from napari_segxai.gui.widgets.fields import combo

MASKS, USUAL = "masks", ""

SOURCES = {
    USUAL: "labels: the truth, where there is one",
    "truth": "labels of the truth",
    "predicted": "labels as predicted",
    MASKS: "a folder of masks",
}
"""What `survey` takes, where nothing stands for None, and what the list says."""


class ConceptsBox(QWidget):
    """Chooses what the concepts are; a folder of masks is typed, chosen or dropped.

    Attributes
    ----------
    changed
        Emitted after every change.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.box = combo("The concepts that are looked for in the network.")
        for told, words in SOURCES.items():
            self.box.addItem(words, told)
        self.masks = PathLine(
            "folder of masks; drop it here",
            "A folder per case with a mask per concept, a folder per concept with a mask per case, a label image per case, or "
            "masks named after case and concept. The masks have to lie on the grids of their images.",
        )
        self.masks.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.box)
        column.addWidget(self.masks)
        self.setAcceptDrops(True)
        self.box.currentIndexChanged.connect(lambda _: self._on_box())
        self.masks.changed.connect(self.changed)
        self.masks.button.clicked.connect(lambda: self._browse())

    def asked(self) -> str | None:
        """Return what `survey` is asked.

        Raises
        ------
        UserError
            If no folder of masks is named.
        """
        if self.box.currentData() != MASKS:
            return self.box.currentData() or None
        if not self.masks.text():
            raise UserError("Name the folder of masks, or drop it on its line.")
        return str(user_path(self.masks.text()))

    def set_asked(self, told: str) -> None:
        """Choose what a record says."""
        known = told in SOURCES and told != MASKS
        self.box.setCurrentIndex(self.box.findData(told if known else MASKS))
        self.masks.set_text("" if known else told)

    def _on_box(self) -> None:
        self.masks.setVisible(self.box.currentData() == MASKS)
        self.changed.emit()

    def _browse(self) -> None:
        if path := QFileDialog.getExistingDirectory(self, "Folder of the masks"):
            self.masks.set_text(path)
