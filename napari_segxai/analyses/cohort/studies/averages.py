"""Averages over a cohort, with intervals over its subjects."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.means import over
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.study import StudyResult, caveats_of, register_study
from napari_segxai.analyses.cohort.tables.columns import describe
from napari_segxai.core.chart import Chart, Series
from napari_segxai.core.text_table import counted
from napari_segxai.metrics.functional.bootstrap import drawn, ends, is_measured

NOT_MEASURED = ("seconds", "forward_passes", "backward_passes", "suffix_passes", "kernel")
"""Numbers that say how it was computed, not what was found."""

FIRST = ("dice-explained", "dice_explained", "truth_dice")
"""What the sentence is about, if it is there."""


@register_study(
    "averages",
    title="Averages",
    summary="mean, median and spread of every number, for every label and map, with 95 % intervals over subjects",
    source="table 1 of Hasany, Mériaudeau, Petitjean 2026 and of Hasany et al. 2025",
    cites=("hasany2024tour", "hasany2026misure"),
)
def averages(cohort: Cohort, random: np.random.Generator) -> StudyResult:
    """Average every number of the tables."""
    rows, nowhere = [], []
    draws: Draws = {}
    for table in (cohort.objects, cohort.maps):
        kinds = dict.fromkeys((row["label"], row.get("map", "")) for row in table if not row["error"])
        for label, map in kinds:
            own = [
                row
                for row in table
                if not row["error"] and (row["label"], row.get("map", "")) == (label, map)
            ]
            for name in dict.fromkeys(key for row in own for key in row):
                if name in NOT_MEASURED:
                    continue
                if all(row.get(name) is None for row in own):
                    nowhere.append(f"{name} of {_of(label, map)}")
                if not any(is_measured(row.get(name)) for row in own):
                    continue
                rows.append(_row(label, map, name, own, random, draws))
    caveats = (*caveats_of(cohort), *_caveats(rows, nowhere))
    return StudyResult("averages", rows, _sentence(rows), caveats, _charts(rows))


def _charts(rows: list[dict[str, Any]]) -> tuple[Chart, ...]:
    """Return a chart for every number that is known of several labels or maps: what the sentence is about first."""
    numbers = sorted(dict.fromkeys(row["number"] for row in rows), key=lambda name: name not in FIRST)
    out = []
    for name in numbers:
        own = [row for row in rows if row["number"] == name]
        if len(own) < 2:
            continue
        one = Series(
            "mean and 95 % interval over subjects",
            tuple(_of(row["label"], row["map"]) for row in own),
            tuple(row["mean"] for row in own),
            tuple(row["low"] for row in own),
            tuple(row["high"] for row in own),
            tuple(over(row) for row in own),
        )
        column = describe(name)
        better = f" {column.better.capitalize()} is better." if column.better else ""
        caption = f"Mean and 95 % bootstrap interval over subjects.{better}"
        out.append(Chart("points", column.title, "", column.axis, (one,), caption))
    return tuple(out)


Draws = dict[tuple[str, ...], np.ndarray]
"""What was drawn of the same subjects, since most numbers are known of all."""


def _row(
    label: str, map: str, name: str, own: list[dict[str, Any]], random: np.random.Generator, draws: Draws
) -> dict[str, Any]:
    known = [row for row in own if is_measured(row.get(name))]
    values = np.array([row[name] for row in known], float)
    subjects = tuple(row["subject"] for row in known)
    low, high = None, None
    if len(set(subjects)) > 1:
        weights = (
            draws[subjects] if subjects in draws else draws.setdefault(subjects, drawn(subjects, random))
        )
        low, high = ends(weights @ values / weights.sum(1))
    out = {
        "label": label,
        "map": map,
        "number": name,
        "mean": float(values.mean()),
        "low": low,
        "high": high,
        "median": float(np.median(values)),
        "lower_quartile": float(np.percentile(values, 25)),
        "upper_quartile": float(np.percentile(values, 75)),
        "n": len(known),
        "undefined": len(own) - len(known),
        "subjects": len(set(subjects)),
    }
    if name.startswith("ratio_"):  # small objects have large ratios: those of the sums as well
        sizes = np.array([row.get("object_cells") or np.nan for row in known], float)
        sure = np.isfinite(sizes)
        out["ratio_of_sums"] = float((values * sizes)[sure].sum() / sizes[sure].sum()) if sure.any() else None
    return out


def _sentence(rows: list[dict[str, Any]]) -> str:
    row = next((row for name in FIRST for row in rows if row["number"] == name), rows[-1])
    between = f" (95 % interval {row['low']:.3g} to {row['high']:.3g})" if row["low"] is not None else ""
    return f"The mean {row['number']} of {_of(row['label'], row['map'])} is {row['mean']:.3g}{between}, over {over(row)}."


def _of(label: str, map: str) -> str:
    return f"map {map} of {label}" if map else label


def _caveats(rows: list[dict[str, Any]], nowhere: list[str]) -> list[str]:
    out = []
    if nowhere:
        out.append(
            f"Not defined for any object: {', '.join(nowhere)}; the column `warnings` of the tables may say why."
        )
    lacking = [row for row in rows if row["undefined"]]
    if not lacking:
        return out
    most = max(lacking, key=lambda row: row["undefined"])
    return [
        *out,
        (
            f"Some numbers are not defined for every object, and are averages of the rest: {most['number']} is missing for "
            f"{most['undefined']} of {counted(most['undefined'] + most['n'], 'object')}."
        ),
    ]
