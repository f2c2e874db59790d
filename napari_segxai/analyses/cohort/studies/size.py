"""How what a method needs grows with the size of the object."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.study import FEW, StudyResult, caveats_of, is_nothing_drawn, register_study
from napari_segxai.analyses.cohort.tables.columns import describe
from napari_segxai.core.chart import Chart, Series
from napari_segxai.core.correlation import rank_correlation, rank_correlations
from napari_segxai.core.text_table import counted
from napari_segxai.metrics.functional.bootstrap import drawn, ends, is_measured

AGAINST = ("n_dilations", "ratio_sufficient", "ratio_mask", "ratio_image")
"""Numbers of MiSuRe whose dependence on size the paper shows (figures 4 to 7)."""


@register_study(
    "size",
    title="Size",
    summary="rank correlation of dilations and ratios with the size of the object, and of the region's own size with it",
    source="Hasany, Mériaudeau, Petitjean 2026, figures 4 to 7",
    cites=("hasany2026misure",),
)
def size(cohort: Cohort, random: np.random.Generator) -> StudyResult:
    """Correlate what a method needs with the size of the object."""
    sizes = {(row["case"], row["label"]): row["size_px"] for row in cohort.objects if not row["error"]}
    rows: list[dict[str, Any]] = []
    points: dict[tuple[str, str], list[Series]] = {}
    kinds = dict.fromkeys((row["label"], row["map"]) for row in cohort.maps if not row["error"])
    for label, map in kinds:
        own = [
            row
            for row in cohort.maps
            if not row["error"]
            and (row["label"], row["map"]) == (label, map)
            and sizes.get((row["case"], label))
        ]
        for name in AGAINST:
            known = [row for row in own if is_measured(row.get(name))]
            if not known:
                continue
            pairs = np.array([(sizes[row["case"], label], row[name]) for row in known], float)
            cases = tuple(row["case"] for row in known)
            points.setdefault((map, name), []).append(Series(label, pairs[:, 0], pairs[:, 1], cases=cases))
            columns = {name: pairs}
            if name.startswith("ratio_"):  # whose denominator is the size: the region's own size beside it
                columns[f"{name} x size"] = np.column_stack([pairs[:, 0], pairs[:, 0] * pairs[:, 1]])
            subjects = [row["subject"] for row in known]
            rows += [_row(label, map, what, some, subjects, random) for what, some in columns.items()]
    if not rows:
        told = any(is_measured(row.get(name)) for row in cohort.maps for name in AGAINST)
        why = "No method of this cohort tells how much of the image it needs; run misure."
        if is_nothing_drawn(cohort):
            why = "No label is drawn in any case, so that there is no size to go by."
        elif told and not sizes:
            why = "The objects of this cohort were not measured, so that there is no size to go by."
        return StudyResult("size", [], why, tuple(caveats_of(cohort)))
    caveats = caveats_of(cohort)
    caveats.append(
        "The size of the object is the denominator of a ratio, so that a falling ratio alone says nothing: look at the row `x size`."
    )
    constant = [row for row in rows if row["rank_correlation"] is None]
    if constant:
        caveats.append(f"{constant[0]['number']} is the same for all objects, so that it has no correlation.")
    return StudyResult("size", rows, _sentence(rows), tuple(caveats), _charts(points))


def _charts(points: dict[tuple[str, str], list[Series]]) -> tuple[Chart, ...]:
    """Return the figures 4 to 7: a chart for every number and map, with a series per label."""
    caption = "A point is an object. The size of the object is the denominator of a ratio."
    out = []
    for (map, number), series in points.items():
        column = describe(number)
        logarithmic = number.startswith("ratio_") and all(
            (value or 0) > 0 for one in series for value in one.y
        )
        title = f"{column.title} and size, {map}"
        axis = describe("size_px").axis
        out.append(Chart("points", title, axis, column.axis, tuple(series), caption, True, logarithmic))
    return tuple(out)


def _row(
    label: str, map: str, number: str, pairs: np.ndarray, subjects: list[str], random: np.random.Generator
) -> dict[str, Any]:
    found = rank_correlation(pairs[:, 0], pairs[:, 1])
    low, high = None, None
    if found is not None and len(set(subjects)) > 1:
        low, high = ends(rank_correlations(*pairs.T, drawn(subjects, random)))
    return {
        "label": label,
        "map": map,
        "number": number,
        "rank_correlation": found,
        "low": low,
        "high": high,
        "n": len(pairs),
        "subjects": len(set(subjects)),
    }


def _sentence(rows: list[dict[str, Any]]) -> str:
    row = next((row for row in rows if row["rank_correlation"] is not None), rows[0])
    if row["rank_correlation"] is None:
        return f"{row['number']} of {row['label']} is the same whatever the size of the object."
    sure = row["subjects"] >= FEW and row["low"] is not None and (row["low"] > 0 or row["high"] < 0)
    way = "grows" if row["rank_correlation"] > 0 else "falls"
    said = (
        f"{way} with the size of the object"
        if sure
        else "does not depend on the size of the object, as far as this cohort tells"
    )
    return f"{row['number']} of {row['label']} {said}: rank correlation {row['rank_correlation']:.2f} over {counted(row['n'], 'object')}."
