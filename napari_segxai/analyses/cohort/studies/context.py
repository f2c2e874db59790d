"""How much of the evidence lies outside the object, and how far from it."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.means import grouped, said, series_of
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.study import StudyResult, caveats_of, register_study
from napari_segxai.analyses.cohort.tables.columns import describe
from napari_segxai.core.chart import Chart, Series
from napari_segxai.core.errors import UserError
from napari_segxai.metrics.functional.bootstrap import Means, is_measured

OUTSIDE = "evidence_outside"


@register_study(
    "context",
    title="Context",
    summary="share of the evidence outside the object, and how far from it that lies, by label and map",
    source="Hasany, Mériaudeau, Petitjean 2026, section 5.1, puts the question in words",
    cites=("hasany2026misure",),
)
def context(cohort: Cohort, random: np.random.Generator) -> StudyResult:
    """Average where the evidence lies."""
    table = [row for row in cohort.maps if not row["error"]]
    numbers = [
        OUTSIDE,
        *sorted(
            {
                name
                for row in table
                for name in row
                if name.startswith(("evidence_distance_", "evidence_reach_"))
            }
        ),
    ]
    if not any(is_measured(row.get(OUTSIDE)) for row in table):
        raise UserError(
            f"no map of {cohort.folder} has evidence, which is what lies above 0; run other methods."
        )
    means, rows, found = Means(random), [], {}
    kinds = grouped(table, lambda row: (row["label"], row["map"]))
    for (label, map), own in kinds.items():
        for number in numbers:
            if mean := means.of(own, number):
                rows.append({"label": label, "map": map, "number": number, **mean})
                found[label, map, number] = mean
    caveats = [
        *caveats_of(cohort, cohort.maps),
        "A coarse or smooth map puts evidence around an object that the network does not look at: compare methods, and maps of a finer layer.",
        "A small object leaves more room outside it: compare labels of like size alone.",
    ]
    return StudyResult(
        "context", rows, _sentence(found, numbers), tuple(caveats), _charts(kinds, numbers, found)
    )


def _sentence(found: dict[tuple[str, str, str], dict[str, Any]], numbers: list[str]) -> str:
    parts = []
    first = next(iter(found))[1]
    for (label, map, number), mean in found.items():
        if number != OUTSIDE or map != first:
            continue
        far = [
            f"{own['mean']:.3g} {describe(name, 'maps').unit}"
            for name in numbers
            if name.startswith("evidence_distance_") and (own := found.get((label, map, name)))
        ]
        end = f", half of it within {' or '.join(far)} on average" if far else ""
        parts.append(f"{said(mean, '.0%')} of the evidence for {label} lies outside it{end}")
    return f"By the map {first}, {'; '.join(parts)}."


def _charts(kinds: dict[Any, Any], numbers: list[str], found: dict[Any, Any]) -> tuple[Chart, ...]:
    labels, maps = (list(dict.fromkeys(kind[k] for kind in kinds)) for k in (0, 1))
    out = []
    for number in numbers:
        column = describe(number, "maps")
        bars = [series_of(map, labels, [found.get((label, map, number)) for label in labels]) for map in maps]
        caption = "Mean and 95 % interval over subjects, by label and map."
        out.append(Chart("bars", column.title, "label", column.axis, tuple(bars), caption))
    for number in (name for name in numbers if name.startswith("evidence_distance_")):
        points = []
        for (label, map), own in kinds.items():
            known = [row for row in own if is_measured(row.get(OUTSIDE)) and is_measured(row.get(number))]
            if known:
                pairs = [(row[OUTSIDE], row[number]) for row in known]
                points.append(
                    Series(
                        f"{label}, {map}",
                        *zip(*pairs, strict=True),
                        cases=tuple(row["case"] for row in known),
                    )
                )
        axes = describe(OUTSIDE, "maps").axis, describe(number, "maps").axis
        out.append(
            Chart(
                "points", "Evidence outside, and its distance", *axes, tuple(points), "A point is an object."
            )
        )
    return tuple(out)
