"""How late a 10 ms timer of the window fires while a task runs: the goal is 50 ms at worst.

Run in a real napari window (`make bench` uses a virtual display): the brain extractor on the T1 head with MiSuRe,
from pressing Run until every result is a layer. Adding layers is napari's own work in the GUI thread; it is
reported apart.
"""

from __future__ import annotations

import time

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_segxai.gui.manifest.demo import open_viewer


def main() -> None:
    viewer, dock = open_viewer()
    while not dock.run_bar.run.isEnabled():
        QApplication.processEvents()
    dock.fields.form.set_values({"iterations": 20})
    late: dict[str, list[float]] = {"while the task runs": [], "while layers are added": []}
    last = time.perf_counter()

    def tick() -> None:
        nonlocal last
        now = time.perf_counter()
        phase = "while the task runs" if dock.run_bar.is_running else "while layers are added"
        late[phase].append(1000 * max(0.0, now - last - 0.01))
        last = now

    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(tick)
    dock.run()
    last = time.perf_counter()
    timer.start(10)
    end = time.monotonic() + 600
    while (dock.run_bar.is_running or not dock._all_shown()) and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.001)
    timer.stop()
    print("\nLateness of a 10 ms timer in the window, in ms:\n")
    print("| phase | ticks | median | 99 % | worst |\n|---|---|---|---|---|")
    for phase, values in late.items():
        if values:
            median, high = np.percentile(values, [50, 99])
            print(f"| {phase} | {len(values)} | {median:.1f} | {high:.1f} | {max(values):.1f} |")
    viewer.close()


if __name__ == "__main__":
    main()
