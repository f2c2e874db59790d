"""Writes an information flow to files, in the worker thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QMenu

from napari_segxai.analyses.flow.result import Flow, save_figure, tile_folder
from napari_segxai.core.progress import Step, Steps
from napari_segxai.gui.flow.results import FlowResults
from napari_segxai.gui.opened_result import of_what_is_meant
from napari_segxai.gui.widgets.run_bar import RunBar
from napari_segxai.gui.widgets.saving import choose_file, choose_folder, saving_steps
from napari_segxai.io.tables import write_csv


def figure_steps(flow: Flow, path: Path, *, common: bool, position: float | None) -> Steps[list[Path]]:
    """Draw the figure; PNG or SVG by the ending of `path`."""
    yield Step(0, 1, "drawing the figure")
    return [save_figure(flow, path, common=common, position=position)]


def table_steps(flow: Flow, path: Path) -> Steps[list[Path]]:
    """Write the table."""
    yield Step(0, 1, "writing the table")
    return [write_csv(path, flow.rows)]


def tile_steps(
    flow: Flow, keys: Sequence[tuple[str, str]], folder: Path, *, overwrite: bool
) -> Steps[list[Path]]:
    """Write tiles as explanations, each to a folder of its own."""
    written: list[Path] = []
    for number, (label, layer) in enumerate(keys):
        yield Step(number, len(keys), f"writing {label} at {layer}")
        written += flow.explanation(label, layer).save(
            tile_folder(flow, folder, label, layer), overwrite=overwrite
        )
    return written


class ExportMenu(QMenu):
    """The menu of what can be written of a flow.

    Parameters
    ----------
    results
        Shows the flow, and knows which tiles are marked.
    run_bar
        Says what was written.
    write
        Starts a task that writes files; see `RunDock.write`.
    ready
        Tells whether the result is there that is meant; see `OpenedResult.ready`.
    """

    def __init__(
        self,
        results: FlowResults,
        run_bar: RunBar,
        write: Callable[[Callable[[], Steps[list[Path]]]], None],
        ready: Callable[[Callable[[], Any]], bool],
    ):
        super().__init__(run_bar)
        self.results, self.run_bar = results, run_bar
        self.write, self.ready = write, ready
        self.addAction("Figure as PNG…", lambda: self.figure(ending=".png"))
        self.addAction("Figure as SVG…", lambda: self.figure(ending=".svg"))
        self.addAction("Table as CSV…", lambda: self.table())
        tiles = self.addAction("Marked tiles as NIfTI…", lambda: self.tiles())
        tiles.setToolTip("Ctrl-click tiles to mark several of them.")
        self.addSeparator()
        whole = self.addAction("Everything in a folder…", lambda: self.folder())
        whole.setToolTip("Files that napari and load_flow can open again, with the marked tiles.")
        self.setToolTipsVisible(True)

    @of_what_is_meant
    def figure(self, path: str | Path | None = None, *, ending: str = ".png") -> None:
        """Write the figure at the slice that is shown; the user is asked for the file if none is given."""
        file = self._file(path, "Save the figure", f"flow{ending}", f"Figure (*{ending})")
        if file is not None:
            axis, position, _ = self.results.grid.plane
            make = partial(
                figure_steps,
                self.results.flow,
                file,
                common=self.results.common,
                position=position if axis == 0 else None,
            )
            self.write(make)

    @of_what_is_meant
    def table(self, path: str | Path | None = None) -> None:
        """Write the table as CSV; the user is asked for the file if none is given."""
        file = self._file(path, "Save the table", "flow.csv", "Table (*.csv)")
        if file is not None:
            make = partial(table_steps, self.results.flow, file)
            self.write(make)

    @of_what_is_meant
    def tiles(self, folder: str | Path | None = None) -> None:
        """Write the marked tiles, each in a folder of its own; the user is asked where if that is not given."""
        keys = list(self.results.grid.selected)
        if not keys:
            self.run_bar.show_status("Mark tiles first: click one, or Ctrl-click several.", error=True)
            return
        flow = self.results.flow

        def own(folder: Path) -> dict[Path, str]:
            return {tile_folder(flow, folder, *key): f"{key[0]} at {key[1]}" for key in keys}

        where = choose_folder(self, self.run_bar, folder, "Save the marked tiles in a folder", own)
        if where is not None:
            make = partial(tile_steps, flow, keys, where[0], overwrite=where[1])
            self.write(make)

    @of_what_is_meant
    def folder(self, folder: str | Path | None = None) -> None:
        """Write the flow with its marked tiles, to be opened again; the user is asked for the folder if none is given."""
        if self.results.flow is None:
            return
        where = choose_folder(self, self.run_bar, folder, "Save the information flow in a folder")
        if where is not None:
            keys = tuple(self.results.grid.selected)
            make = partial(saving_steps, self.results.flow, where[0], overwrite=where[1], tiles=keys)
            self.write(make)

    def _file(self, path: str | Path | None, title: str, name: str, kind: str) -> Path | None:
        return None if self.results.flow is None else choose_file(self, path, title, name, kind)
