"""Writes a comparison to files, in the worker thread, and to the clipboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QMenu

from napari_segxai.analyses.compare.result import Comparison, save_picture
from napari_segxai.analyses.compare.tables import curve_points
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Step, Steps
from napari_segxai.figures.compare import Drawn
from napari_segxai.gui.compare.results import CompareResults
from napari_segxai.gui.opened_result import of_what_is_meant
from napari_segxai.gui.widgets.run_bar import RunBar
from napari_segxai.gui.widgets.saving import choose_file, choose_folder, saving_steps
from napari_segxai.io.tables import write_csv


def table_steps(comparison: Comparison, path: Path) -> Steps[list[Path]]:
    """Write the table."""
    yield Step(0, 1, "writing the table")
    return [write_csv(path, comparison.table)]


def curve_steps(comparison: Comparison, path: Path) -> Steps[list[Path]]:
    """Write the points of all curves."""
    yield Step(0, 1, "writing the curves")
    points = curve_points(comparison.rows, comparison.explanations)
    if not points:
        raise UserError(
            "no metric of this comparison has a curve; tick insertion, deletion or Dice over threshold."
        )
    return [write_csv(path, points)]


def picture_steps(cases: Sequence[Comparison | Drawn], path: Path) -> Steps[list[Path]]:
    """Draw the picture; PNG, PDF or SVG by the ending of `path`."""
    yield Step(0, 1, "drawing the picture")
    return [save_picture(cases, path)]


class CompareExport(QMenu):
    """The menu of what can be written of a comparison.

    Parameters
    ----------
    results
        Shows the comparison.
    run_bar
        Says what was written.
    cases
        What the picture shows of every comparison of this session, also of the current one; each is a row of the picture.
    write
        Starts a task that writes files; see `RunDock.write`.
    ready
        Tells whether the result is there that is meant; see `OpenedResult.ready`.
    """

    def __init__(
        self,
        results: CompareResults,
        run_bar: RunBar,
        cases: Mapping[Any, Drawn],
        write: Callable[[Callable[[], Steps[list[Path]]]], None],
        ready: Callable[[Callable[[], Any]], bool],
    ):
        super().__init__(run_bar)
        self.results, self.run_bar, self.cases = results, run_bar, cases
        self.write, self.ready = write, ready
        self.addAction("Copy the table", self.copy)
        self.addAction("Table as CSV…", lambda: self.table())
        self.addAction("Curves as CSV…", lambda: self.curves())
        self.addSeparator()
        self.addAction("Picture as PNG…", lambda: self.picture(ending=".png"))
        self.addAction("Picture as PDF…", lambda: self.picture(ending=".pdf"))
        self.all_cases = self.addAction("")
        self.all_cases.setCheckable(True)
        self.all_cases.setToolTip("A row for every image and label that was compared in this session.")
        self.addSeparator()
        self.addAction("Everything in a folder…", lambda: self.folder())
        self.setToolTipsVisible(True)
        self.aboutToShow.connect(self.count)
        self.count()

    def count(self) -> None:
        """Say how many rows a picture of all cases would have."""
        rows = len(self.cases)
        self.all_cases.setText(
            f"In the picture: all {rows} cases as rows" if rows > 1 else "In the picture: one case"
        )
        self.all_cases.setEnabled(rows > 1)
        if rows < 2:
            self.all_cases.setChecked(False)

    @of_what_is_meant
    def copy(self) -> None:
        """Put the table on the clipboard, sorted as it is shown."""
        if self.results.comparison is not None:
            self.results.table.copy()
            self.run_bar.show_status("The table is on the clipboard.")

    @of_what_is_meant
    def table(self, path: str | Path | None = None) -> None:
        """Write the table; the user is asked for the file if none is given."""
        file = self._file(path, "Save the table", "comparison.csv", "CSV (*.csv)")
        if file is not None:
            make = partial(table_steps, self.results.comparison, file)
            self.write(make)

    @of_what_is_meant
    def curves(self, path: str | Path | None = None) -> None:
        """Write the points of all curves; the user is asked for the file if none is given."""
        file = self._file(path, "Save the curves", "curves.csv", "CSV (*.csv)")
        if file is not None:
            make = partial(curve_steps, self.results.comparison, file)
            self.write(make)

    @of_what_is_meant
    def picture(self, path: str | Path | None = None, *, ending: str = ".png") -> None:
        """Draw image, prediction and maps side by side; the user is asked for the file if none is given."""
        kind = f"{ending[1:].upper()} (*{ending})"
        file = self._file(path, "Save the picture", f"comparison{ending}", kind)
        if file is not None:
            chosen = list(self.cases.values()) if self.all_cases.isChecked() else [self.results.comparison]
            make = partial(picture_steps, chosen, file)
            self.write(make)

    @of_what_is_meant
    def folder(self, folder: str | Path | None = None) -> None:
        """Write the table, the curves, the picture and every explanation; the user is asked for the folder if none is given."""
        if self.results.comparison is None:
            return
        where = choose_folder(self, self.run_bar, folder, "Save the comparison in a folder")
        if where is not None:
            make = partial(saving_steps, self.results.comparison, where[0], overwrite=where[1])
            self.write(make)

    def _file(self, path: str | Path | None, title: str, name: str, kind: str) -> Path | None:
        return None if self.results.comparison is None else choose_file(self, path, title, name, kind)
