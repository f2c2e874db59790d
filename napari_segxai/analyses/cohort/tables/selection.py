"""Some cases of a cohort: alone, and held against the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.result import TABLES, Cohort
from napari_segxai.analyses.cohort.statistics import holm
from napari_segxai.analyses.cohort.studies.averages import NOT_MEASURED
from napari_segxai.analyses.cohort.study import FEW, StudyResult
from napari_segxai.core.chart import Chart, Series
from napari_segxai.core.errors import UserError, nearest
from napari_segxai.core.text_table import counted
from napari_segxai.metrics.functional.bootstrap import is_measured

SHOWN = 12
"""Numbers that the chart shows, those with the largest differences."""


def only(cohort: Cohort, cases: Collection[str]) -> Cohort:
    """Return a cohort with the rows of some of its cases alone.

    Parameters
    ----------
    cohort
        The whole.
    cases
        Their ids.

    Raises
    ------
    UserError
        If it has no such case, or none is named.
    """
    known = {case["id"] for case in cohort.record["cases"]}
    for case in cases:
        if case not in known:
            raise UserError(f"{cohort.folder.name} has no case {case!r}; {nearest(case, known)}")
    if not cases:
        raise UserError("name at least one case.")
    record = {**cohort.record, "cases": [case for case in cohort.record["cases"] if case["id"] in cases]}
    tables = {name: [row for row in rows if row["case"] in cases] for name, rows in cohort.tables.items()}
    return replace(cohort, record=record, missing=_missing(record, tables), **tables)


def _missing(record: Mapping[str, Any], tables: Mapping[str, list[dict[str, Any]]]) -> int:
    """Return how many jobs of these cases have no row."""
    done = {(row["case"], row["label"], row["map"]) for row in tables["maps"]}
    whole = {(row["case"], name) for name, rows in tables.items() for row in rows}
    count = 0
    for case in record["cases"]:
        for job in record["jobs"]:
            if job["kind"] == "map":
                count += (case["id"], job["label"], job["map"]) not in done
            else:
                count += (case["id"], TABLES[job["kind"]]) not in whole
    return count


def contrast(cohort: Cohort, cases: Collection[str]) -> StudyResult:
    """Hold some cases against the rest: the medians of every number, side by side, and how far the two groups overlap.

    A subject counts once in a group, with the mean of its rows.

    Parameters
    ----------
    cohort
        The whole.
    cases
        Ids of those that are held against the others.

    Returns
    -------
    StudyResult
        A row per label, map and number, largest difference first: the medians, how many subjects, Cliff's delta (how much more
        often a number is higher among these than among the rest, from -1 to 1), and p of the rank-sum test, alone and after
        Holm's correction for all rows.

    Raises
    ------
    UserError
        If there is no rest, or nothing was measured in both groups.
    """
    only(cohort, cases)  # refuses what is not there
    if all(case["id"] in cases for case in cohort.record["cases"]):
        raise UserError("all cases are chosen, so that there is no rest; choose some of them.")
    rows = []
    for table in (cohort.objects, cohort.maps):
        good = [row for row in table if not row["error"]]
        kinds = dict.fromkeys((row["label"], row.get("map", "")) for row in good)
        for label, map in kinds:
            own = [row for row in good if (row["label"], row.get("map", "")) == (label, map)]
            for name in dict.fromkeys(key for row in own for key in row):
                if name in NOT_MEASURED or not any(is_measured(row.get(name)) for row in own):
                    continue
                these = _by_subject((row for row in own if row["case"] in cases), name)
                rest = _by_subject((row for row in own if row["case"] not in cases), name)
                if len(these) and len(rest):
                    rows.append({"label": label, "map": map, "number": name, **_compared(these, rest)})
    if not rows:
        raise UserError("no number was measured both of these cases and of the rest.")
    rows.sort(key=lambda row: -abs(row["cliffs_delta"]))
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
    return StudyResult(
        "contrast", rows, _sentence(rows), tuple(_caveats(cohort, cases, rows)), (_chart(rows),)
    )


def _by_subject(rows: Iterable[dict[str, Any]], name: str) -> np.ndarray:
    held = defaultdict(list)
    for row in rows:
        if is_measured(row.get(name)):
            held[row["subject"]].append(float(row[name]))
    return np.array([np.mean(values) for values in held.values()])


def _compared(these: np.ndarray, rest: np.ndarray) -> dict[str, Any]:
    from scipy.stats import mannwhitneyu

    found = mannwhitneyu(these, rest)
    return {
        "median_these": float(np.median(these)),
        "median_rest": float(np.median(rest)),
        "these": len(these),
        "rest": len(rest),
        "cliffs_delta": float(2 * found.statistic / (len(these) * len(rest)) - 1),
        "p": float(found.pvalue),
    }


def _sentence(rows: list[dict[str, Any]]) -> str:
    row = rows[0]
    of = f"{row['number']} of {'map ' + row['map'] + ' of ' if row['map'] else ''}{row['label']}"
    return (
        f"Of {len(rows)} numbers, these cases differ most from the rest in {of}: median {row['median_these']:.3g} against "
        f"{row['median_rest']:.3g} (Cliff's delta {row['cliffs_delta']:+.2f})."
    )


def _caveats(cohort: Cohort, cases: Collection[str], rows: list[dict[str, Any]]) -> list[str]:
    out = [
        "Whoever chose these cases by their numbers has made the difference in those numbers: their p-values mean nothing."
    ]
    subjects = [
        {row["subject"] for row in cohort.objects if (row["case"] in cases) is own} for own in (True, False)
    ]
    if both := subjects[0] & subjects[1]:
        out.append(f"The groups are not independent: {counted(len(both), 'subject')} with cases in both.")
    if min(min(row["these"], row["rest"]) for row in rows) < FEW:
        out.append(f"Some numbers are known of fewer than {FEW} subjects of one group: too few to tell much.")
    return out


def _chart(rows: list[dict[str, Any]]) -> Chart:
    shown = rows[:SHOWN]
    names = [" · ".join(filter(None, (row["number"], row["map"], row["label"]))) for row in shown]
    return Chart(
        "points",
        "These cases and the rest",
        "Cliff's delta",
        "number",
        (Series("", tuple(row["cliffs_delta"] for row in reversed(shown)), tuple(reversed(names))),),
        "How much more often a number is higher among these cases than among the rest; 0: as often as lower.",
    )
