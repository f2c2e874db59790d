"""The button *3D Slicer*: results as files for it, and into one that runs on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from weakref import ref

from qtpy.QtWidgets import QMenu, QPushButton, QWidget

from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Step, Steps
from napari_segxai.core.text_table import counted
from napari_segxai.export.api import export_to_slicer
from napari_segxai.gui.widgets.run_bar import RunBar
from napari_segxai.gui.widgets.saving import choose_folder
from napari_segxai.gui.worker import Outcome
from napari_segxai.io.slicer.server import KINDS, NOT_THERE, is_running, load_files

Start = Callable[[Callable[[], Steps[Any]], Callable[[Outcome], None]], Any]

Parts = Mapping[str, str | None]
"""Folders within the one that is chosen, "" for itself, and which case of a cohort goes into each."""

WHOLE: Parts = {"": None}


def _written(
    result: Explanation | Cohort, folder: Path, parts: Parts, *, overwrite: bool
) -> Steps[list[Path]]:
    written: list[Path] = []
    for done, (name, case) in enumerate(parts.items()):
        yield Step(done, len(parts), "writing")
        written += export_to_slicer(result, folder / name, case=case, overwrite=overwrite)
    return written


def _asked() -> Steps[bool]:
    yield Step(0, 1, "asking 3D Slicer")
    return is_running()


def _sent(files: list[Path]) -> Steps[int]:
    yield Step(0, 1, "handing the files to 3D Slicer")
    load_files(files)
    return len(files)


class SlicerButton(QPushButton):
    """A menu of two entries: *Export for Slicer*, and *Open in Slicer*, which exports first where that has not been done.

    Slicer is asked whether it is there when the second is clicked, never before, and on this machine alone.

    Parameters
    ----------
    run_bar
        Says what happened.
    of
        What is exported, in words.
    """

    def __init__(self, run_bar: RunBar, of: str, parent: QWidget | None = None):
        super().__init__("3D Slicer", parent)
        self.run_bar = run_bar
        self.setToolTip(f"Write {of} as files for 3D Slicer, or open it there.")
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        self.export = menu.addAction("Export for Slicer…")
        self.export.setToolTip("Image, maps, segments and points in a folder, with a script that shows them.")
        self.open = menu.addAction("Open in Slicer")
        self.open.setToolTip(
            "Hand the files to a Slicer that runs on this machine, with its web server started."
        )
        self.setMenu(menu)
        self._exported: tuple[ref[Explanation | Cohort], Parts, list[Path]] | None = None

    def write(
        self,
        result: Explanation | Cohort,
        start: Start,
        folder: str | Path | None = None,
        then: Callable[[list[Path]], None] | None = None,
        *,
        parts: Parts = WHOLE,
        note: str = "",
    ) -> None:
        """Write a result to a folder; the user is asked for it if none is given.

        Parameters
        ----------
        start
            Starts a task beside others, and calls back with its outcome.
        then
            Called with what was written.
        parts
            Of a cohort: which cases.
        note
            Said after what was written.
        """
        where = choose_folder(
            self,
            self.run_bar,
            folder,
            "Export for 3D Slicer to a folder",
            lambda folder: {folder / name: "" for name in parts},
        )
        if where is None:
            return
        chosen, overwrite = where

        def done(outcome: Outcome) -> None:
            if not self._told(outcome):
                return
            self._exported = ref(result), parts, outcome.result
            self.run_bar.show_status(
                f"Wrote {counted(len(outcome.result), 'file')} for 3D Slicer to {chosen}.{note}"
            )
            if then is not None:
                then(outcome.result)

        start(partial(_written, result, chosen, parts, overwrite=overwrite), done)

    def show_there(
        self,
        result: Explanation | Cohort,
        start: Start,
        folder: str | Path | None = None,
        *,
        parts: Parts = WHOLE,
    ) -> None:
        """Open a result in a Slicer that runs, if one does; it is exported first if it has not been."""

        def send(written: list[Path]) -> None:
            files = [path for path in written if path.name.endswith(tuple(KINDS))]
            start(partial(_sent, files), sent)

        def sent(outcome: Outcome) -> None:
            if self._told(outcome):
                self.run_bar.show_status(f"3D Slicer has loaded {counted(outcome.result, 'file')}.")

        def answered(outcome: Outcome) -> None:
            if not self._told(outcome):
                return
            if not outcome.result:
                self.run_bar.show_status(NOT_THERE[0].upper() + NOT_THERE[1:], error=True)
                return
            held = self._exported
            there = held is not None and held[0]() is result and held[1] == parts
            if held is not None and there and all(path.exists() for path in held[2]):
                send(held[2])
            else:
                self.write(result, start, folder, send, parts=parts)

        start(_asked, answered)

    def _told(self, outcome: Outcome) -> bool:
        """Say what went wrong, if anything did."""
        if outcome.error is None:
            return not outcome.cancelled
        if isinstance(outcome.error, UserError) and not self.run_bar.is_running:
            self.run_bar.show_status(str(outcome.error), error=True)
        elif not isinstance(outcome.error, UserError):
            self.run_bar.set_failed(outcome, result=True)
        return False
