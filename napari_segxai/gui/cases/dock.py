"""What the docks share that ask about a folder of cases: what a run would cost is looked at aside, and saved results are dropped."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Steps
from napari_segxai.gui.run_dock import RunDock
from napari_segxai.io.held import RECORD, look

if TYPE_CHECKING:
    import napari.viewer

    from napari_segxai.gui.worker import Outcome

PAUSE = 400
"""Milliseconds after the last change, before it is looked at what a run would cost."""

LOOKING = "Looking at the cases, and at results that are there…"


class CasesDock(RunDock):
    """Base of the docks that ask about a folder of cases.

    A dock says what kind of result it makes, and overrides `_asks`, `_words`, `_load`, `_opened` and `_take_kept`. Its form has a
    `source`.

    Parameters
    ----------
    viewer
        The viewer in which cases are opened.
    """

    def __init__(self, viewer: napari.viewer.Viewer):
        super().__init__(viewer)
        self._seen: tuple[Any, Any] | None = None
        self._count = 0
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE)
        self._pause.timeout.connect(self._look)
        self.setAcceptDrops(True)

    def set_up(self, fields: Any, results: QWidget | None = None, width: int = 0) -> None:
        """Lay the dock out; see `RunDock.set_up`."""
        super().set_up(fields, results, width)
        self.model_box.prefer(_no_image)

    # -- what a dock overrides ----------------------------------------------------------------------------

    def _asks(self) -> tuple[Any, Callable[[], Any]]:
        """Return what is asked, to be compared, and a function that looks at what it would cost, which reads files.

        Raises
        ------
        UserError
            Saying what is missing or does not fit.
        """
        raise NotImplementedError

    def _words(self, seen: Any) -> str:
        """Return in words what was seen."""
        raise NotImplementedError

    def _load(self, folder: str) -> Any:
        """Read a saved result; called in a thread of its own."""
        raise NotImplementedError

    def _opened(self, found: Any, folder: str) -> None:
        """Show a result that was opened."""
        raise NotImplementedError

    # -- what a run would cost ----------------------------------------------------------------------------

    @property
    def seen(self) -> Any | None:
        """What was seen of what the form asks; None while it is being looked at."""
        found = None if self._seen is None else self._seen[1]
        return None if isinstance(found, UserError) else found

    def _cost(self) -> str:
        key, _ = self._asks()
        if self._seen is None or self._seen[0] != key:
            self._seen = key, None
            self._pause.start()
        found = self._seen[1]
        if isinstance(found, UserError):
            raise found
        return LOOKING if found is None else self._words(found)

    def _look(self) -> None:
        """Look at what is there, beside what runs."""
        if self.run_bar.is_running:
            self._seen = None  # once it has ended
            return
        try:
            key, see = self._asks()
        except UserError:
            return
        if self._seen is None or self._seen[0] != key:
            return

        def make() -> Steps[Any]:
            yield from ()
            return see()

        self.tasks.beside(make, partial(self._on_seen, key))

    def _on_seen(self, key: Any, outcome: Outcome) -> None:
        if self._seen is None or self._seen[0] != key:
            return
        found = outcome.result if outcome.error is None else outcome.error
        if found is None:
            return
        if isinstance(found, Exception) and not isinstance(found, UserError):
            found = UserError(f"{type(found).__name__}: {found}")
        self._seen = key, found
        self._update()

    def _no_longer_seen(self) -> None:
        """A run has changed what is there."""
        self._seen = None

    # -- opening --------------------------------------------------------------------------------------------

    def open(self, folder: str | Path | None = None) -> None:
        """Open a folder of results; the user is asked for it if none is given."""
        folder = folder or QFileDialog.getExistingDirectory(self, f"Folder of a {self.kind}")
        if not folder:
            return
        self._count += 1

        def make() -> Steps[Any]:
            yield from ()
            return self._load(str(folder))

        self.run_bar.show_status(f"Opening {folder}…")
        self.tasks.beside(make, partial(self._on_opened, self._count, str(folder)))

    def _on_opened(self, count: int, folder: str, outcome: Outcome) -> None:
        if count != self._count:
            return
        if outcome.error is not None or outcome.result is None:
            said = str(outcome.error) if isinstance(outcome.error, UserError) else repr(outcome.error)
            self.run_bar.show_status(said, error=True)
            return
        self._opened(outcome.result, folder)

    def dragEnterEvent(self, event: Any) -> None:
        """Take one folder or file."""
        urls = event.mimeData().urls()
        if len(urls) == 1 and urls[0].isLocalFile():
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:
        """Take a folder of cases, or open results."""
        event.acceptProposedAction()
        self.take(event.mimeData().urls()[0].toLocalFile())

    def take(self, path: str) -> None:
        """Open the results of this dock that a folder holds; any other is taken for a folder of cases."""
        folder = Path(path).parent if Path(path).name == RECORD else Path(path)
        try:
            is_result = folder.is_dir() and look(folder).kind == self.kind
        except UserError:
            is_result = False
        if is_result:
            self.open(folder)
        else:
            self.fields.source.set_asked(path)

    def showEvent(self, event: Any) -> None:
        """Load the model that is chosen when the dock is first seen."""
        super().showEvent(event)
        self.model_box.ensure_loaded()


def _no_image(_: int) -> Any:
    raise UserError("The cases are read when they are run.")
