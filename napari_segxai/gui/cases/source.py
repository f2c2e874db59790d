"""Where cases lie: a folder or table that is named, chosen or dropped, and what was found there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QMenu,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_segxai.core.errors import UserError
from napari_segxai.core.paths import user_path
from napari_segxai.core.progress import Steps
from napari_segxai.gui.viewer.theme import mark_error
from napari_segxai.gui.widgets.fields import Words, combo, section
from napari_segxai.io.cases.case import Cases
from napari_segxai.io.cases.find import Layout, find_cases
from napari_segxai.io.cases.table import TABLES

if TYPE_CHECKING:
    from napari_segxai.gui.worker import Outcome

PAUSE = 400
"""Milliseconds after the last letter that was typed."""

LISTED = 500
"""Lines of what was found: a list of thousands is no help."""

AUTO = "found by the file names"


class PathLine(QWidget):
    """A path that is typed, chosen with a button, or dropped.

    Attributes
    ----------
    changed
        Emitted after every change.
    dropped
        Emitted with a path that was dropped.
    """

    changed = Signal()
    dropped = Signal(str)

    def __init__(self, hint: str, tip: str):
        super().__init__()
        self.line = QLineEdit()
        self.line.setPlaceholderText(hint)
        self.line.setToolTip(tip)
        self.line.setMinimumWidth(60)
        self.line.setAcceptDrops(False)
        self.button = QToolButton()
        self.button.setText("…")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        row.addWidget(self.line, 1)
        row.addWidget(self.button)
        self.setAcceptDrops(True)
        self.line.textChanged.connect(lambda _: self.changed.emit())

    def text(self) -> str:
        """Return what stands there."""
        return self.line.text().strip()

    def set_text(self, text: str) -> None:
        """Write something else."""
        self.line.setText(text)

    def dragEnterEvent(self, event: Any) -> None:
        """Take one path."""
        if len(event.mimeData().urls()) == 1 and event.mimeData().urls()[0].isLocalFile():
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:
        """Take the path."""
        event.acceptProposedAction()
        path = event.mimeData().urls()[0].toLocalFile()
        self.set_text(path)
        self.dropped.emit(path)


class SourceBox(QWidget):
    """The folder or table of the cases, how it is laid out, and what was found, with what was left out.

    Parameters
    ----------
    beside
        Runs a task that asks no network: `Tasks.beside`.

    Attributes
    ----------
    changed
        Other cases were found, or none.
    found
        The cases; None while nothing was found.
    problem
        Why nothing was found; "" where that is not known.
    """

    changed = Signal()

    def __init__(self, beside: Callable[[Callable[[], Steps[Any]], Callable[[Outcome], None]], Any]):
        super().__init__()
        self._beside = beside
        self.found: Cases | None = None
        self.problem = ""
        self.path = PathLine(
            "folder or CSV table; drop it here",
            "nnU-Net's raw data, BIDS, a folder of images and one of labels, a folder per case, one folder of images, or a CSV table "
            "with a column `image`.",
        )
        menu = QMenu(self.path.button)
        menu.addAction("Folder…", self._browse_folder)
        menu.addAction("CSV table…", self._browse_table)
        self.path.button.setMenu(menu)
        self.path.button.setStyleSheet(
            "QToolButton::menu-indicator { image: none; }"
        )  # it would lie on the dots
        self.path.button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.layout_box = combo("How the folder is laid out.")
        self.layout_box.addItem(AUTO, "auto")
        for name in get_args(Layout):
            if name != "auto":
                self.layout_box.addItem(name, name)
        self.truth = QLineEdit()
        self.truth.setPlaceholderText("beside the images")
        self.truth.setToolTip(
            "The folder of the truths. For BIDS: the word at the end of their names, such as dseg."
        )
        self.channels = QLineEdit()
        self.channels.setPlaceholderText("t1, t1ce, t2, flair")
        self.channels.setToolTip(
            "The files that make up one image, in the order of the model's channels: a word in the name of each, separated by commas."
        )
        rows = QWidget()
        form = QFormLayout(rows)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(2)
        form.addRow("layout", self.layout_box)
        form.addRow("truths", self.truth)
        form.addRow("channels", self.channels)
        self.details = section("Layout of the folder", rows)
        self.words = Words(4)
        self.words.setText("No folder is chosen.")
        self.list = QListWidget()
        self.list.setFixedHeight(110)
        self.listed = section("What was found", self.list)
        self.listed.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for part in (self.path, self.words, self.listed, self.details):
            column.addWidget(part)
        self._count = 0
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE)
        self._pause.timeout.connect(self.look)
        self.path.changed.connect(self._on_typed)
        self.truth.textChanged.connect(lambda _: self._on_typed())
        self.channels.textChanged.connect(lambda _: self._on_typed())
        self.layout_box.currentIndexChanged.connect(lambda _: self.look())

    def cases(self) -> Cases:
        """Return the cases that were found.

        Raises
        ------
        UserError
            Saying why there are none.
        """
        if self.found is None:
            waits = (
                "Looking for cases…" if self.path.text() else "Choose a folder of cases, or drop one here."
            )
            raise UserError(self.problem or waits)
        return self.found

    def asked(self) -> dict[str, Any]:
        """Return what `find_cases` is asked, but for the path: what is not the default."""
        words = [word.strip() for word in self.channels.text().split(",") if word.strip()]
        given = {
            "layout": self.layout_box.currentData(),
            "truth": self.truth.text().strip() or None,
            "channels": words or None,
        }
        return {name: value for name, value in given.items() if value not in (None, "auto")}

    def set_asked(
        self, path: str, *, layout: str = "auto", truth: str = "", channels: Sequence[str] = ()
    ) -> None:
        """Name a folder or table, and what `find_cases` is asked of it; what was said about another one is forgotten."""
        self.truth.setText(truth)
        self.channels.setText(", ".join(channels))
        self.layout_box.setCurrentIndex(max(0, self.layout_box.findData(layout)))
        self.path.set_text(path)
        self.look()

    def look(self) -> None:
        """Find the cases, beside what runs."""
        self._pause.stop()
        self._count += 1
        path, asked = self.path.text(), self.asked()
        if not path:
            self._set(None, "", "No folder is chosen.")
            return

        def make() -> Steps[Cases]:
            yield from ()
            return find_cases(user_path(path), **asked)

        self._set(None, "", "Looking for cases…")
        self._beside(make, partial(self._on_found, self._count))

    def _on_typed(self) -> None:
        self._count += 1  # what is being looked for is another folder's
        self._set(None, "", "Looking for cases…" if self.path.text() else "No folder is chosen.")
        self._pause.start()

    def _on_found(self, count: int, outcome: Outcome) -> None:
        if count != self._count:
            return
        if outcome.error is not None:
            self._set(None, str(outcome.error), str(outcome.error))
            if isinstance(outcome.error, UserError):
                return
            raise outcome.error
        if outcome.result is not None:
            self._set(outcome.result, "", f"{outcome.result} (layout: {outcome.result.layout})")

    def _set(self, found: Cases | None, problem: str, words: str) -> None:
        self.found, self.problem = found, problem
        self.words.setText(words)
        mark_error(self.words, bool(problem))
        self.list.clear()
        if found is not None:
            lines = [f"left out: {one.name} {one.reason}" for one in found.left_out]
            for case in found.cases[: max(0, LISTED - len(lines))]:
                files = ", ".join(path.name for path in case.images)
                lines.append(f"{case.id}: {files}" + (f"; truth {case.truth.name}" if case.truth else ""))
            more = len(found.left_out) + len(found.cases) - LISTED
            self.list.addItems([*lines[:LISTED], *([f"and {more} more"] if more > 0 else [])])
        self.listed.setVisible(found is not None)
        self.changed.emit()

    def _browse_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder of the cases")
        if path:
            self.path.set_text(path)

    def _browse_table(self) -> None:
        kinds = " ".join(f"*{kind}" for kind in TABLES)
        path, _ = QFileDialog.getOpenFileName(self, "Table of the cases", "", f"Tables ({kinds})")
        if path:
            self.path.set_text(path)
