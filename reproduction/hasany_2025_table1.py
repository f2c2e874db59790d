"""A guided tour of post-hoc XAI techniques (Hasany et al. 2025), table 1 and figures 2 and 3.

Four methods on the bottleneck's features and RISE with growing numbers of masks; every map is binarized at two
thresholds, and the network sees the image behind it.
"""

from __future__ import annotations

import time

from common import BASELINE, Case, Row, cases, firsts, masked
from kept import Store
from settings import Settings

from napari_segxai.core.arrays import unit
from napari_segxai.metrics.functional.localization import energy_inside

NAME = "hasany_2025_table1"
CAMS = {
    "Seg-Grad-CAM": "seg-grad-cam",
    "Seg-XRes-CAM": "seg-xres-cam",
    "Seg-Eigen-CAM": "seg-eigen-cam",
    "Seg-Ablation-CAM": "seg-ablation-cam",
}
CAM_THRESHOLDS = (0.05, 0.1)
RISE_THRESHOLDS = (0.2, 0.4)
COUNTS = (100, 500, 1000, 2000)


def run(settings: Settings, store: Store) -> list[Row]:
    """Return the rows of all cases."""
    found = cases(settings)
    shown = {case.key for case in firsts(found)}
    return [row for case in found for row in rows_of(case, settings, store, case.key in shown)]


def rows_of(case: Case, settings: Settings, store: Store, shown: bool = False) -> list[Row]:
    """Return the rows of one case, from the store where they are there."""
    asked = {"masks": case.masks, "seed": settings.seed}
    return store.rows(
        NAME, case, asked, lambda: _measure(case, settings.seed, store if shown else None), shown=shown
    )


def _measure(case: Case, seed: int, store: Store | None) -> list[Row]:
    case.explain("seg-grad-cam")  # so that no method pays for what is done once per network
    cams, rise, seconds = {}, {}, {}
    for title, method in CAMS.items():
        explanation = case.explain(method)
        cams[title], seconds[title] = explanation.map, explanation.record.seconds
    start, clock = time.perf_counter(), []
    explanation = case.explain(
        "rise", masks=case.masks, checkpoints=True, seed=seed, baseline=BASELINE,
        progress=lambda step: clock.append((step.done, time.perf_counter() - start)),
    )  # fmt: skip
    for count in [*(n for n in COUNTS if n < case.masks), case.masks]:
        name = f"RISE {count}"
        rise[name] = explanation.maps.get(f"map_{count}", explanation.map)
        seconds[name] = next((t for done, t in clock if done >= count), clock[-1][1])
    if store is not None:
        store.keep_maps(case, **cams, **rise)
    inside = case.predicted()
    rows = masked(case, cams, CAM_THRESHOLDS) + masked(case, rise, RISE_THRESHOLDS)
    for row in rows:
        row["seconds"] = seconds[row["method"]]
        row["inside"] = energy_inside(unit(({**cams, **rise})[row["method"]]), inside)
    return rows
