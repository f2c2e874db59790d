"""The demonstration: explain the brain extraction of a real T1 head, in a real napari window."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from napari_segxai.analyses.explain.files import ALWAYS_WRITTEN
from napari_segxai.analyses.explain.result import save_explanation
from napari_segxai.core.errors import UserError
from napari_segxai.io.saving import check_folder

if TYPE_CHECKING:
    from napari import Viewer
    from qtpy.QtCore import QTimer

    from napari_segxai.gui.explain.dock import ExplainDock

SIZE = (1280, 800)
# The brain alone gives back 96 % of itself: asking for 98 % shows how much of the head around it is needed,
# and a higher lambda than the default prunes that to what really counts.
PARAMETERS = {"tau": 0.98, "lam": 1.0}


def run(out: Path, *, headless: bool = False) -> None:
    """Run the demonstration and leave the screenshot, the maps and the record in `out`.

    Without a display it runs in a virtual one where there is Xvfb.

    Raises
    ------
    UserError
        If there is neither a display nor Xvfb, or `out` cannot be written to.
    """
    check_folder(out, overwrite=True, names=(*ALWAYS_WRITTEN, "screenshot.png"))
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        _run_in_virtual_display(out)
    import napari
    from qtpy.QtCore import QTimer

    viewer, dock = open_viewer()
    timer = QTimer()
    demonstration = Demonstration(viewer, dock, timer, out, headless)
    timer.timeout.connect(demonstration.look)
    timer.start(200)
    napari.run()
    if demonstration.failed is not None:
        raise demonstration.failed


def _run_in_virtual_display(out: Path) -> NoReturn:
    """Replace this process by one that runs the demonstration in a virtual display."""
    if shutil.which("xvfb-run") is None:
        raise UserError("there is no display; install xvfb to run the demonstration without one.")
    command = ["xvfb-run", "-a", "-s", "-screen 0 1280x800x24", sys.executable, "-m", "napari_segxai"]
    sys.stdout.flush()
    os.execvp(command[0], [*command, "demo", "--headless", "--out", str(out)])


@dataclass
class Demonstration:
    """What is done in the window, step by step: `look` is called again and again until the result is saved.

    Attributes
    ----------
    failed
        Why nothing could be saved.
    told
        The last line about progress.
    """

    viewer: Viewer
    dock: ExplainDock
    timer: QTimer
    out: Path
    headless: bool
    failed: UserError | None = None
    told: str = ""

    def look(self) -> None:
        """Do what can be done now: run, report, or save once every layer is there."""
        if self.dock.run_bar.is_running:
            self._report()
        elif self.dock.explanation is None:
            self._start()
        elif self.dock._all_shown():  # outlines come last
            self.timer.stop()
            self._save()

    def _report(self) -> None:
        note = self.dock.run_bar.status.text()
        if self.headless and note != self.told and note.split(" ")[0:2] != self.told.split(" ")[0:2]:
            print(note, flush=True)
        self.told = note

    def _start(self) -> None:
        if self.dock.run_bar.run.isEnabled():
            self.dock.fields.form.set_values(PARAMETERS)
            self.dock.run()
        elif self.dock.model_box.problem:
            self.timer.stop()
            print(self.dock.model_box.problem, file=sys.stderr)
            self.viewer.close()

    def _save(self) -> None:
        picture = self.viewer.screenshot(canvas_only=False, flash=False)
        try:
            written = save_explanation(
                self.dock.explanation, self.out, overwrite=True, pictures={"screenshot.png": picture}
            )
        except UserError as error:
            self.failed = error
            self.viewer.close()
            return
        for path in written:
            print(path)
        print(self.dock.run_bar.status.text())
        if self.headless:
            self.viewer.close()


def open_viewer() -> tuple[Viewer, ExplainDock]:
    """Open a napari window with the T1 head and the dock *Explain*."""
    import napari

    viewer = napari.Viewer(show=False)
    viewer.open_sample("napari-segxai", "t1_head")
    _, dock = viewer.window.add_plugin_dock_widget("napari-segxai", "Explain")
    head = next(layer for layer in viewer.layers if layer.name == "t1_head")
    viewer.layers.selection.active = head
    viewer.dims.set_point(0, head.extent.world[:, 0].mean())
    viewer.reset_view()
    viewer.window.show()
    viewer.window.resize(*SIZE)
    return viewer, dock
