"""How long the window of the Cohort dock is held by one event, with 12 000 rows: the goal is 50 ms.

Run in a real napari window (`make bench` uses a virtual display). Computing time of the window's own thread is given beside wall
time, which on a busy machine tells more of the others than of the dock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.tables.frame import frames
from napari_segxai.gui.cohort.results import CohortResults

CASES, LABELS, MAPS = 2000, ("liver", "tumor"), ("misure", "rise", "seg-grad-cam")


def main() -> None:
    """Measure, and print a table."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1280, 800)
    _, dock = viewer.window.add_plugin_dock_widget("napari-segxai", "Cohort")
    results: CohortResults = dock.results
    results.wanted.disconnect()  # opening cases is another matter
    turn(2)
    whole, part = cohort(CASES), cohort(CASES - 50)
    made, less = frames(whole), frames(part)
    table, plot = results.table, results.plot
    columns = made["maps"].columns
    up, down = Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder
    acts: dict[str, Callable[[], Any]] = {
        "show the tables": lambda: results.set_cohort(part, made=less, ended=False),
        "add rows": lambda: results.set_cohort(whole, made=made, ended=False),
        "sort by a number": lambda: table.sortByColumn(columns.index("mass"), up),
        "sort by names": lambda: table.sortByColumn(0, down),
        "filter": lambda: results.filter.setText("liver truth_dice<0.9"),
        "no filter": results.filter.clear,
        "select all rows": table.selectAll,
        "next row": lambda: table.step(1),
        "show the plot": lambda: results.tabs.setCurrentWidget(plot),
        "other column": lambda: plot.y_box.setCurrentIndex(plot.y_box.findData("mass")),
        "colour by map": lambda: plot.color_box.setCurrentIndex(plot.color_box.findData("map")),
        "click a point": lambda: plot.clicked.emit(500),
        "draw around all points": lambda: plot.box.drawn.emit([(-9, -9), (9e9, -9), (9e9, 9), (-9, 9)]),
        "move the axes": lambda: plot.box.translateBy(x=0.01, y=0.01),
    }
    print(f"\nThe longest event of the window with {CASES * len(LABELS) * len(MAPS)} rows, in ms:\n")
    print("| act | computing | wall |\n|---|---|---|")
    for name, act in acts.items():
        computing, wall = longest(act)
        print(f"| {name} | {computing:.0f} | {wall:.0f} |", flush=True)
    viewer.close()


def cohort(cases: int) -> Cohort:
    """Return tables of a cohort that nobody ran."""
    random = np.random.default_rng(0)
    objects: list[dict[str, Any]] = []
    maps: list[dict[str, Any]] = []
    for k in range(cases):
        for label in LABELS:
            about = {"case": f"case_{k:05}", "label": label, "group": f"site {k % 3}", "subject": f"s{k}"}
            end = {"warnings": "", "error": ""}
            sizes = {name: int(random.lognormal(7, 1)) for name in ("size_px", "truth_px")}
            shares = {name: random.random() for name in ("truth_dice", "confidence", "entropy", "iou")}
            objects.append({**about, **sizes, **shares, **end})
            for map in MAPS:
                numbers = {name: random.random() for name in ("dice-explained", "mass", "ratio", "seconds")}
                maps.append({**about, "map": map, "method": map, **numbers, **end})
    jobs = [{"kind": kind} for kind in ("objects", "map")]
    return Cohort(Path("results"), {"cases": [{}] * cases, "jobs": jobs}, objects, maps, 0)


def turn(seconds: float) -> None:
    """Turn the event loop for a while."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.001)


def longest(act: Callable[[], Any]) -> tuple[float, float]:
    """Return the most computing and wall time, in ms, between two ticks of a timer of 1 ms while something is done."""
    last, worst = np.zeros(2), np.zeros(2)

    def tick() -> None:
        nonlocal last
        now = np.array([time.thread_time(), time.perf_counter()])
        np.maximum(worst, now - last, out=worst)
        last = now

    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(tick)
    turn(0.3)
    last = np.array([time.thread_time(), time.perf_counter()])
    timer.start(1)
    QTimer.singleShot(5, act)
    turn(1)
    timer.stop()
    return 1000 * worst[0], 1000 * worst[1]


if __name__ == "__main__":
    main()
