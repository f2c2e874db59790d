"""Which cases are unlike the others, and in what.

Every number of the tables is a column: of every label, map, network layer and channel. A case is compared with cases of
other subjects alone (the subjects are divided into ten parts, each compared with the rest), by robust z-scores, (x - median) /
(1.4826 MAD), and by the Mahalanobis distance of these with the covariance of Ledoit and Wolf. What needs a truth is left out, so that the
truth can judge: the area under the ROC curve tells how well oddness finds bad predictions, beside size and confidence.

Where the channels of a network layer were asked for their relevance, they are no columns, but one vector of each case, of which the prototypes are
told, and how *surprising* each case is: whether the network decided in another way than it does elsewhere (`relevance_prototypes`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from napari_segxai.analyses.cohort.relevance_prototypes import surprises_of
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.statistics import Pairs
from napari_segxai.analyses.cohort.study import StudyResult, caveats_of, register_study
from napari_segxai.analyses.cohort.tables.columns import describe
from napari_segxai.core.chart import Chart, Series
from napari_segxai.core.errors import UserError
from napari_segxai.core.extras import need
from napari_segxai.core.options import option
from napari_segxai.metrics.functional.bootstrap import drawn, ends, is_measured
from napari_segxai.metrics.registry import known_metric

LEAST = 10
"""Cases of reference below which nothing is compared."""

PARTS = 10
"""Of the subjects."""

FAR = 3.5
"""Robust z-score beyond which a number is called far out (Iglewicz and Hoaglin 1993)."""

FARTHEST = 10.0
"""At which z-scores of a case are cut, so that one of them does not rule all; those of the reference at `FAR`, so that odd cases among them do
not make themselves ordinary."""

NAMED = 3

KEYS = ("case", "group", "subject", "label", "map", "layer", "channel", "how", "method", "error", "warnings")
"""Columns that say which row it is."""

NOT_FOUND = ("seconds", "forward_passes", "backward_passes", "suffix_passes", "kernel", "order", "slice")
"""Numbers that say how it was computed."""

CHANCE = (" chance", " chance 95%", " above chance")
"""Ends of the names of columns that tell of random maps."""

Columns = dict[str, dict[str, float]]
"""By the name of a column the numbers by case."""


@dataclass(frozen=True)
class Options:
    """Parameters of the study."""

    reference: Literal["all", "good"] = option(
        "all", help="whom cases are compared with: all, or those that are good"
    )
    good: float = option(0.9, ge=0, le=1, help="a case is good if the Dice of all its labels is above")


@register_study(
    "out-of-the-ordinary",
    title="Out of the ordinary",
    summary="cases that are unlike the others, with the three numbers that make them so; whether oddness finds bad predictions",
    source="robust z-scores (Iglewicz and Hoaglin 1993); Mahalanobis distance with the covariance of Ledoit and Wolf 2004; prototypes of "
    "relevances: Dreyer et al. 2024",
    cites=("iglewicz1993", "ledoit2004", "dreyer2024"),
    options=Options,
)
def out_of_the_ordinary(cohort: Cohort, random: np.random.Generator, options: Options) -> StudyResult:
    """Order the cases by how odd they are."""
    columns = columns_of(cohort)
    subjects = {row["case"]: row["subject"] for row in (*cohort.objects, *cohort.maps) if not row["error"]}
    cases = list(subjects)
    dice = worst(cohort, "truth_dice")
    is_good = np.array([dice.get(case, -1) > options.good for case in cases])
    fitting = is_good if options.reference == "good" else np.ones(len(cases), bool)
    if fitting.sum() < LEAST + 1:
        what = "good cases" if options.reference == "good" else "cases"
        raise UserError(
            f"out-of-the-ordinary: there are {fitting.sum()} {what}; more than {LEAST} are needed to tell what is ordinary."
        )
    names, table = _table(columns, cases, fitting)
    if not names:
        raise UserError("out-of-the-ordinary: no number differs from case to case.")
    part = _parts([subjects[case] for case in cases], random)
    z, distance = _compared(table, part, fitting)
    by_case = (dict(zip(cases, one.tolist(), strict=True)) for one in (part, fitting))
    decided = surprises_of(cohort.channels, *by_case, LEAST, random)
    rows = _rows(cases, subjects, names, table, z, distance, dice, decided.largest)
    detection = _detection(cohort, cases, subjects, z, distance, dice, options.good, random, decided.largest)
    caveats = [*caveats_of(cohort), *_caveats(names, cases, fitting, z), *decided.caveats]
    tables = {"detection": detection, "prototypes": decided.prototypes, "decisions": decided.cases}
    return StudyResult(
        "out-of-the-ordinary",
        rows,
        _sentence(rows, detection) + decided.sentence,
        tuple(caveats),
        (_chart(rows, options.good), *decided.charts(dice)),
        {name: own for name, own in tables.items() if own},
    )


def columns_of(cohort: Cohort) -> Columns:
    """Return every number of the tables that was found without a truth, by label, map, layer and channel."""
    out: Columns = {}
    tables: Iterable[Sequence[Mapping[str, Any]]] = (
        cohort.objects,
        cohort.maps,
        cohort.flow,
        cohort.channels,
    )
    for row in (row for table in tables for row in table if not row["error"]):
        if row.get("how") == "relevance":  # one vector, which is looked at as a whole
            continue
        place = ", ".join(
            str(row[key])
            for key in ("label", "map", "layer", "channel", "how")
            if row.get(key) not in (None, "")
        )
        for name, value in row.items():
            left_out = name in KEYS or name in NOT_FOUND or name.endswith(CHANCE) or _needs_truth(name)
            if not left_out and is_measured(value):
                out.setdefault(f"{place}: {name}", {})[row["case"]] = float(value)
    return out


def _needs_truth(name: str) -> bool:
    metric = known_metric(name.partition(":")[0].partition(" chance")[0].partition(" above")[0])
    return "truth" in (name if metric is None else metric.needs)


def worst(cohort: Cohort, name: str) -> dict[str, float]:
    """Return the lowest value of a number over the labels of a case."""
    out: dict[str, float] = {}
    for row in cohort.objects:
        if not row["error"] and is_measured(row.get(name)):
            out[row["case"]] = min(row[name], out.get(row["case"], np.inf))
    return out


def _table(columns: Columns, cases: Sequence[str], fitting: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the columns that most cases of reference have and that differ among cases: of shape (cases, columns), NaN where undefined.

    One that is an earlier one in another unit, as pixels and mm2, or its complement, is left out: it would count twice.
    """
    names, found = [], []
    for name, values in columns.items():
        own = np.array([values.get(case, np.nan) for case in cases])
        known = own[np.isfinite(own)]
        if np.isfinite(own[fitting]).mean() < 0.5 or not (known != known[0]).any():
            continue
        if not any(_is_linear_in(own, other) for other in found):
            names.append(name)
            found.append(own)
    return names, np.array(found).T.reshape(len(cases), len(names))


def _is_linear_in(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two columns are one number in two units, or a share and what is left of it."""
    known = np.isfinite(one)
    if (known != np.isfinite(other)).any():
        return False
    return bool(abs(np.corrcoef(one[known], other[known])[0, 1]) > 1 - 1e-9)


def _parts(subjects: Sequence[str], random: np.random.Generator) -> np.ndarray:
    """Return for every case the part to which its subject belongs."""
    _, subject = np.unique(np.asarray(subjects, str), return_inverse=True)
    return random.permutation(subject.max() + 1)[subject] % PARTS


def _compared(table: np.ndarray, part: np.ndarray, fitting: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compare every case with those of reference that are of subjects of other parts.

    Returns
    -------
    ndarray of shape (cases, columns), ndarray of shape (cases,)
        Robust z-scores, 0 where undefined; and the Mahalanobis distance over the root of the number of columns, so that it is about
        1 for ordinary cases.
    """
    covariance = need("sklearn.covariance", "cohort", "out-of-the-ordinary")
    z, distance = np.zeros_like(table), np.zeros(len(table))
    for number in np.unique(part):
        own, others = part == number, fitting & (part != number)
        if not others.any():
            others = fitting
        middle, spread = _robust(table[others])
        # Where all others are 0, nothing but the one that differs tells by how much numbers differ.
        spread = np.where(spread > 0, spread, 1.2533 * np.nanmean(np.abs(table), axis=0))
        scores = np.nan_to_num((table - middle) / spread, nan=0.0)
        z[own] = scores[own]
        fitted = covariance.LedoitWolf().fit(scores[others].clip(-FAR, FAR))
        distance[own] = np.sqrt(fitted.mahalanobis(scores[own].clip(-FARTHEST, FARTHEST)) / table.shape[1])
    return z, distance


def _robust(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return middle and spread of columns.

    Median and MAD; where most are equal the mean absolute deviation; where all are, their size, which may be 0.
    """
    middle = np.nanmedian(table, axis=0)
    away = np.abs(table - middle)
    median, mean = 1.4826 * np.nanmedian(away, axis=0), 1.2533 * np.nanmean(away, axis=0)
    spread = np.where(median > 0, median, mean)
    # Of reference all equal: what differs at all is odd, by as much as it differs beside what they are.
    return middle, np.where(spread > 0, spread, np.abs(middle))


def _rows(
    cases: Sequence[str],
    subjects: Mapping[str, str],
    names: Sequence[str],
    table: np.ndarray,
    z: np.ndarray,
    distance: np.ndarray,
    dice: Mapping[str, float],
    surprising: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Return a row for every case, the oddest first."""
    out = []
    for k in np.argsort(-distance, kind="stable"):
        first = np.argsort(-np.abs(z[k]), kind="stable")[:NAMED]
        row: dict[str, Any] = {
            "case": cases[k],
            "subject": subjects[cases[k]],
            "oddness": float(distance[k]),
            "largest_z": float(np.abs(z[k]).max()),
            "far_out": int((np.abs(z[k]) > FAR).sum()),
            "undefined": int(np.isnan(table[k]).sum()),
        }
        for number, column in enumerate(first, 1):
            row |= {f"odd_{number}": names[column], f"z_{number}": float(z[k, column])}
        row |= {"surprise": surprising.get(cases[k])} if surprising else {}
        out.append({**row, "truth_dice": dice.get(cases[k])})
    return out


def _detection(
    cohort: Cohort,
    cases: Sequence[str],
    subjects: Mapping[str, str],
    z: np.ndarray,
    distance: np.ndarray,
    dice: Mapping[str, float],
    good: float,
    random: np.random.Generator,
    surprising: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Return how well every score finds the cases that are not good, where truths tell."""
    known = np.array([case in dice for case in cases])
    some = [case for case in cases if case in dice]
    is_bad = np.array([dice[case] <= good for case in some], bool)
    if not some or is_bad.all() or not is_bad.any():
        return []
    weights = drawn([subjects[case] for case in some], random)
    confidence, size = worst(cohort, "confidence"), worst(cohort, "size_px")
    scores = {
        "oddness": distance[known],
        "largest z": np.abs(z[known]).max(1),
        **({"surprise": _known_or_middle(surprising, some)} if surprising else {}),
        "low confidence": -np.array([confidence.get(case, -1.0) for case in some]),
    }
    small = -np.array([size.get(case, -1.0) for case in some])
    is_small = Pairs.of(small[None], is_bad).area()[0] >= 0.5  # nobody knows beforehand which of them are bad
    scores["small size" if is_small else "large size"] = small if is_small else -small
    out, areas = [], {}
    for name, score in scores.items():
        pairs = Pairs.of(score[None], is_bad)
        areas[name] = pairs.area(weights)
        low, high = ends(areas[name])
        less, more = ends(areas["oddness"] - areas[name])
        area = float(pairs.area()[0])
        out.append(
            {
                "score": name,
                "auc": area,
                "low": low,
                "high": high,
                "oddness_minus_this": out[0]["auc"] - area if out else 0.0,
                "difference_low": less,
                "difference_high": more,
                "n": len(some),
                "bad": int(is_bad.sum()),
            }
        )
    return out


def _sentence(rows: Sequence[Mapping[str, Any]], detection: Sequence[Mapping[str, Any]]) -> str:
    first = rows[0]
    way = "above" if first["z_1"] > 0 else "below"
    said = f"The oddest case is {first['case']}: {first['odd_1']} lies {abs(first['z_1']):.3g} robust deviations {way} the middle"
    if not detection:
        return f"{said}; no truths tell whether odd cases are bad ones."
    odd, *known = (row for row in detection if row["score"] not in ("largest z", "surprise"))
    best = max(known, key=lambda row: row["auc"])
    low, high = best["difference_low"], best["difference_high"]
    if low is None or low <= 0 <= high:
        verdict = f"as well as {best['score']} alone does, as far as this cohort tells"
    else:
        verdict = f"{'better' if low > 0 else 'worse'} than {best['score']} alone does"
    between = "" if odd["low"] is None else f", 95 % interval {odd['low']:.2f} to {odd['high']:.2f}"
    beside = ", ".join(f"{row['score']} {row['auc']:.2f}" for row in known)
    return f"{said}; oddness finds bad predictions {verdict} (area under the ROC curve {odd['auc']:.2f}{between}; {beside})."


def _caveats(names: Sequence[str], cases: Sequence[str], fitting: np.ndarray, z: np.ndarray) -> list[str]:
    far = (np.abs(z) > FAR).any(1).sum()
    out = [
        f"Of {len(names)} numbers some lie far out in many cases ({far} of {len(cases)} have one beyond {FAR}): what is odd need not be bad."
    ]
    if fitting.sum() < 2 * len(names):
        out.append(
            f"{fitting.sum()} cases are few for the covariance of {len(names)} numbers, which is shrunk towards a plain one."
        )
    return out


def _known_or_middle(surprising: Mapping[str, float], cases: Sequence[str]) -> np.ndarray:
    """Return how surprising cases are; one in which no label is drawn is taken to be as surprising as the middle one."""
    middle = float(np.median(list(surprising.values())))
    return np.array([surprising.get(case, middle) for case in cases])


def _chart(rows: Sequence[Mapping[str, Any]], good: float) -> Chart:
    """Return oddness against the Dice with the truth; of cases in their order where none is known."""
    known = [row for row in rows if row["truth_dice"] is not None]
    words = [f"{row['odd_1']} ({row['z_1']:+.2g})" for row in (known or rows)]
    cases = tuple(row["case"] for row in (known or rows))
    x = tuple(row["truth_dice"] for row in known) or tuple(range(1, len(rows) + 1))
    points = Series("", x, tuple(row["oddness"] for row in (known or rows)), text=tuple(words), cases=cases)
    axis = f"Lowest {describe('truth_dice').title}" if known else "Case, the oddest first"
    caption = f"A point is a case. Good is above {good:g}." if known else "A point is a case."
    return Chart("points", "Out of the ordinary", axis, "Oddness (about 1 is ordinary)", (points,), caption)
