"""The demonstration: explain the brain extraction of a real T1 head, in a real napari window."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from napari_segxai.analyses.explain.files import SURE
from napari_segxai.analyses.explain.result import save_explanation
from napari_segxai.core.errors import UserError
from napari_segxai.io.saving import check_folder

if TYPE_CHECKING:
    from napari import Viewer

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
    check_folder(out, overwrite=True, names=(*SURE, "screenshot.png"))
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        if shutil.which("xvfb-run") is None:
            raise UserError("there is no display; install xvfb to run the demonstration without one.")
        command = ["xvfb-run", "-a", "-s", "-screen 0 1280x800x24", sys.executable, "-m", "napari_segxai"]
        sys.stdout.flush()
        os.execvp(command[0], [*command, "demo", "--headless", "--out", str(out)])
    import napari
    from qtpy.QtCore import QTimer

    failed: list[UserError] = []
    viewer, panel = open_viewer()
    timer = QTimer()
    reported = [""]

    def look() -> None:
        note = panel.run_bar.status.text()
        if panel.run_bar.is_running:
            if headless and note != reported[0] and note.split(" ")[0:2] != reported[0].split(" ")[0:2]:
                print(note, flush=True)
            reported[0] = note
            return
        if panel.explanation is None:
            if panel.run_bar.run.isEnabled():
                panel.fields.form.set_values(PARAMETERS)
                panel.run()
            elif panel.model_box.problem:
                timer.stop()
                print(panel.model_box.problem, file=sys.stderr)
                viewer.close()
            return
        if not panel._all_shown():  # outlines come last
            return
        timer.stop()
        picture = viewer.screenshot(canvas_only=False, flash=False)
        try:
            written = save_explanation(
                panel.explanation, out, overwrite=True, pictures={"screenshot.png": picture}
            )
        except UserError as error:
            failed.append(error)
            viewer.close()
            return
        for path in written:
            print(path)
        print(panel.run_bar.status.text())
        if headless:
            viewer.close()

    timer.timeout.connect(look)
    timer.start(200)
    napari.run()
    if failed:
        raise failed[0]


def open_viewer() -> tuple[Viewer, ExplainDock]:
    """Open a napari window with the T1 head and the Explain panel."""
    import napari

    viewer = napari.Viewer(show=False)
    viewer.open_sample("napari-segxai", "t1_head")
    _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Explain")
    head = next(layer for layer in viewer.layers if layer.name == "t1_head")
    viewer.layers.selection.active = head
    viewer.dims.set_point(0, head.extent.world[:, 0].mean())
    viewer.reset_view()
    viewer.window.show()
    viewer.window.resize(*SIZE)
    return viewer, panel
