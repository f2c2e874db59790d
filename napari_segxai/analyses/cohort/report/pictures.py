"""The pictures of a report: charts of studies, and single cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.report.parts import Picture, written
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.compare.drawing import drawn_of
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.core.chart import Chart
from napari_segxai.core.errors import UserError
from napari_segxai.core.gallery import Gallery
from napari_segxai.figures.charts import draw_chart
from napari_segxai.figures.compare import Drawn, picture
from napari_segxai.figures.gallery import draw_gallery
from napari_segxai.figures.style import write_figure
from napari_segxai.io import read_image
from napari_segxai.io.saving import replacing
from napari_segxai.metrics.functional.bootstrap import is_measured

WORST = 3
"""Cases of a kind that are shown."""

MAPS = 6
"""Maps of a case that are shown."""


def chart_picture(chart: Chart) -> Picture:
    """Return a chart as a picture of a report."""
    names = [series.name for series in chart.series if series.name]
    of = f", for {', '.join(names[:8])}" if names and chart.kind != "matrix" else ""
    axes = " against ".join(one for one in (chart.y, chart.x) if one)
    return Picture(f"Chart: {chart.title}. {axes}{of}.", chart.caption, partial(draw_chart, chart))


def gallery_picture(gallery: Gallery) -> Picture:
    """Return small pictures in rows as a picture of a report."""
    rows = gallery.rows()
    names = [*list(rows)[:8], *(["..."] if len(rows) > 8 else [])]
    drawn = replace(gallery, caption="")  # which stands below it
    return Picture(
        f"{gallery.title}: {', '.join(names)}.", gallery.caption, partial(draw_gallery, drawn), vector=False
    )


def save_gallery(gallery: Gallery, path: Path) -> Path:
    """Write small pictures in rows for print.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    with replacing(path) as beside:
        write_figure(draw_gallery(gallery), beside)
    return path


def worst_objects(cohort: Cohort) -> tuple[str, list[Mapping[str, Any]]]:
    """Return the objects that agree least with their truth, or of which the network is least sure where there is no truth."""
    for column, words in (
        ("truth_dice", "The lowest Dice with the truth"),
        ("confidence", "The lowest confidence, since no truth is known"),
    ):
        known = [row for row in cohort.objects if not row["error"] and is_measured(row.get(column))]
        if known:
            return words, sorted(known, key=lambda row: row[column])[:WORST]
    return "", []


def case_picture(cohort: Cohort, row: Mapping[str, Any]) -> Picture | None:
    """Return the picture of one object: image, prediction, truth and maps; None where nothing was kept to draw it."""
    case, label = row["case"], row["label"]
    names = [job["map"] for job in cohort.record["jobs"] if job["kind"] == "map" and job["label"] == label]
    found: dict[str, Explanation] = {}
    for name in names[:MAPS]:
        try:
            found[name] = cohort.explanation(case, label, name)
        except UserError:  # it failed, or its arrays were not kept
            continue
    try:
        drawn = _drawn(cohort, case, label, found)
    except UserError:  # the image is not there any more
        return None
    if drawn is None:
        return None
    facts = [
        f"{words} {written(row[key])}"
        for key, words in (
            ("truth_dice", "Dice with the truth"),
            ("size_px", "size in pixels"),
            ("confidence", "mean confidence"),
        )
        if is_measured(row.get(key))
    ]
    about = f"{label} of {case}: {', '.join(facts)}."
    return Picture(
        f"Image, prediction and maps of {about}",
        about,
        partial(picture, [drawn]),
        vector=False,
    )


def _drawn(cohort: Cohort, case: str, label: str, found: Mapping[str, Explanation]) -> Drawn | None:
    if not found:
        return None
    first = next(iter(found.values()))
    position = first.record.model["labels"].index(label)
    shown = first.drawn(label).astype(np.uint8) * position if first.overlapping else first.prediction
    maps = {name: (one.map, one.record.display.get("unit", "")) for name, one in found.items()}
    drawn = drawn_of(
        first.image.frame(0),
        label,
        shown,
        maps,
        labels=first.record.model["labels"],
        object=first.drawn(label),
        truth=_truth(cohort, case, first, position),
    )
    return replace(drawn, name=case)  # not that of its file


def _truth(cohort: Cohort, case: str, found: Explanation, position: int) -> np.ndarray | None:
    """Return where the label really is, if the truth lies on the grid of the image and holds label values; else None."""
    paths = {one["id"]: one.get("truth") for one in cohort.record["cases"]}
    if paths.get(case) is None or found.overlapping:
        return None
    try:
        truth = read_image(paths[case])
        values = np.asarray(truth.array)
    except UserError:
        return None
    affines: Sequence[Any] = [one.affine for one in (truth, found.image)]
    elsewhere = all(one is not None for one in affines) and not np.allclose(*affines, atol=1e-3)
    if values.shape != found.map.shape or elsewhere:
        return None
    if len(found.record.model["labels"]) == 2 and set(np.unique(values).tolist()) <= {0, 255}:
        values = values > 0
    return values == position
