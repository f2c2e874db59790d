"""The page of a method, in a window of its own beside the viewer."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import QDialog, QTextBrowser, QToolButton, QVBoxLayout, QWidget

from napari_segxai.methods.page import section
from napari_segxai.methods.registry import Method

SIZE = (680, 620)


class MethodHelp(QDialog):
    """What a method shows and does not show, its formulas, cost and parameters; the viewer can be used meanwhile."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setModal(False)
        self.text = QTextBrowser()
        self.text.setOpenLinks(False)
        self.text.document().setDocumentMargin(12)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        self.resize(*SIZE)

    def show_method(self, method: Method) -> None:
        """Show the page of a method, from its beginning."""
        self.setWindowTitle(method.title)
        self.text.setMarkdown(section(method))
        self.show()
        self.raise_()


class HelpButton(QToolButton):
    """The ? beside a method.

    Parameters
    ----------
    method
        Returns the method whose page is shown, or None.
    """

    def __init__(self, method: Callable[[], Method | None], parent: QWidget | None = None):
        super().__init__(parent)
        self._method = method
        self.page: MethodHelp | None = None
        self.setText("?")
        self.setToolTip("What the method shows and does not show, and what it costs.")
        self.clicked.connect(lambda: self.open())

    def open(self) -> None:
        """Open the page, or show another method in the open one."""
        method = self._method()
        if method is None:
            return
        if self.page is None:
            self.page = MethodHelp(self)
        self.page.show_method(method)
