"""Methods and thresholds against each other: table 1 of the papers, on one's own cases.

A row is a map that is cut at one threshold, or the region that a method gives itself (MiSuRe); a column is a metric. Ranks and
tests take subjects as blocks: of a subject the mean of its cases counts. A map that is empty has no number, and the last rank; means
are of those that have one, so that empty maps are counted beside them. Random maps of equal area are the control where a metric has a chance
level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.statistics import holm
from napari_segxai.analyses.cohort.study import FEW, StudyResult, caveats_of, register_study
from napari_segxai.analyses.cohort.tables.columns import describe
from napari_segxai.core.chart import Chart, Series
from napari_segxai.core.errors import UserError
from napari_segxai.core.extras import need
from napari_segxai.core.text_table import counted
from napari_segxai.metrics.functional.bootstrap import drawn, ends, is_measured
from napari_segxai.metrics.registry import find_metric, known_metric

OWN = {
    "dice_explained": "dice-explained",
    "ratio_mask": "saliency-ratio",
    "ratio_image": "perturbation-ratio-image",
}
"""Numbers of a method's own region, by the metric that is the same of a map that is cut."""

OWN_REGION = "own region"

RATIOS = ("saliency-ratio", "perturbation-ratio", "perturbation-ratio-image")
FIRST = "dice-explained"
"""What the sentence and the first chart are about, if it is there."""


@dataclass
class Variant:
    """A map that is cut in one way.

    Attributes
    ----------
    label, map, at
        Of what; the parameters of the metrics, or "own region".
    values, chance, above
        By metric and case: the number, what random maps reach, and whether the number is higher.
    """

    label: str
    map: str
    at: str
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    chance: dict[str, dict[str, float]] = field(default_factory=dict)
    above: dict[str, dict[str, bool]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What it is called."""
        return f"{self.map} ({self.at})" if self.at else self.map


@register_study(
    "benchmark",
    title="Benchmark",
    summary="methods and thresholds against each other in every metric, with ranks, intervals of differences, empty maps and random maps",
    source="table 1 of Hasany, Mériaudeau, Petitjean 2026, of Hasany et al. 2025, and of Aabid and Sicre; tests as Demšar 2006",
    cites=("hasany2026misure", "hasany2024tour", "aabid_sicre", "demsar2006"),
)
def benchmark(cohort: Cohort, random: np.random.Generator) -> StudyResult:
    """Compare the maps of a cohort."""
    variants = variants_of(cohort)
    if not variants:
        raise UserError(
            "benchmark: the tables hold no metric; run the cohort with --metrics dice-explained,saliency-ratio, for example."
        )
    rows: list[dict[str, Any]] = []
    numbers: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    for label in dict.fromkeys(one.label for one in variants):
        own = [one for one in variants if one.label == label]
        ranks: dict[str, dict[str, float]] = {}
        for metric in dict.fromkeys(name for one in own for name in one.values):
            found, pairs = _compared(cohort, metric, [one for one in own if metric in one.values], random)
            numbers += found
            differences += pairs
            ranks[metric] = {row["variant"]: row["mean_rank"] for row in found}
        rows += [_row(cohort, one, ranks) for one in own]
    caveats = (*caveats_of(cohort), *_caveats(cohort, variants))
    tables = {"numbers": numbers, "differences": differences}
    return StudyResult("benchmark", rows, _sentence(numbers, differences), caveats, _charts(numbers), tables)


def variants_of(cohort: Cohort) -> list[Variant]:
    """Return the maps of the table by label, map and threshold, with the metrics that are known of each."""
    out: dict[tuple[str, str, str], Variant] = {}
    undrawn = {
        label: _undrawn(cohort, label) for label in dict.fromkeys(row.get("label", "") for row in cohort.maps)
    }
    for row in cohort.maps:
        if row["error"]:
            continue
        for metric, at, column in _columns(row):
            place = row["label"], row["map"], at
            one = out.setdefault(place, Variant(*place))
            held = one.values.setdefault(metric, {})
            if row["case"] in undrawn[row["label"]]:
                continue
            if is_measured(row.get(column)):
                held[row["case"]] = float(row[column])
            if is_measured(row.get(f"{column} chance")):
                one.chance.setdefault(metric, {})[row["case"]] = row[f"{column} chance"]
                one.above.setdefault(metric, {})[row["case"]] = bool(row[f"{column} above chance"])
    known = {metric for one in out.values() for metric, held in one.values.items() if held}
    for one in out.values():  # what no map has is told by averages
        one.values = {metric: held for metric, held in one.values.items() if metric in known}
    return [one for one in out.values() if one.values]


def _columns(row: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield metric, threshold and name of every column that holds a metric."""
    for column in row:
        name, _, at = column.partition(":")
        if column in OWN:
            yield OWN[column], OWN_REGION, column
        elif " " not in column and known_metric(name) is not None:
            yield name, at.replace(":", ", "), column


def _rows_of(cohort: Cohort, one: Variant) -> list[dict[str, Any]]:
    """Return the rows of a map, of objects that are drawn: without one there is nothing that a map could explain."""
    own = [
        row for row in cohort.maps if not row["error"] and (row["label"], row["map"]) == (one.label, one.map)
    ]
    undrawn = _undrawn(cohort, one.label)
    return [row for row in own if row["case"] not in undrawn]


def _undrawn(cohort: Cohort, label: str) -> set[str]:
    """Return the cases in which a label is not drawn."""
    return {
        row["case"]
        for row in cohort.objects
        if not row["error"] and row["label"] == label and row.get("size_px") == 0
    }


def _row(cohort: Cohort, one: Variant, ranks: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Return the row of table 1."""
    own = _rows_of(cohort, one)
    out: dict[str, Any] = {"label": one.label, "map": one.map, "at": one.at, "objects": len(own)}
    out["empty"] = sum(bool(row.get("empty")) for row in own)
    for metric, values in one.values.items():
        out[metric] = float(np.mean(list(values.values()))) if values else None
        if ranks[metric].get(one.title) is not None:
            out[f"{metric} rank"] = ranks[metric][one.title]
        if metric in one.chance:
            out[f"{metric} chance"] = float(np.mean(list(one.chance[metric].values())))
            out[f"{metric} above chance"] = float(np.mean(list(one.above[metric].values())))
    seconds = [row["seconds"] for row in own if is_measured(row.get("seconds"))]
    return {**out, "seconds": float(np.mean(seconds)) if seconds else None}


def _compared(
    cohort: Cohort, metric: str, variants: Sequence[Variant], random: np.random.Generator
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Compare variants in one metric: a row for each, and one for every pair."""
    better = find_metric(metric).better
    subjects = list(dict.fromkeys(row["subject"] for one in variants for row in _rows_of(cohort, one)))
    table = np.column_stack([_by_subject(cohort, one, metric, subjects, better) for one in variants])
    complete = ~np.isnan(table).any(1)
    blocks = table[complete]
    ranks, friedman = None, None
    if better is not None and len(variants) > 1 and len(blocks):
        stats = need("scipy.stats", "cohort", "benchmark")
        ranks = stats.rankdata(-blocks if better == "higher" else blocks, axis=1).mean(0)
        # Equal everywhere (no spread of ranks) has no test.
        if len(variants) > 2 and len(blocks) >= FEW and np.ptp(ranks) > 0:
            friedman = float(stats.friedmanchisquare(*blocks.T).pvalue)
    weights = drawn(subjects, random) if len(subjects) > 1 else None
    rows = []
    for k, one in enumerate(variants):
        own, values = table[:, k], list(one.values[metric].values())
        low, high = _interval(own, weights)
        chance = one.chance.get(metric, {})
        rows.append(
            {
                "label": one.label,
                "map": one.map,
                "variant": one.title,
                "metric": metric,
                "better": better,
                "mean": float(np.mean(values)) if values else None,
                "low": low,
                "high": high,
                "median": float(np.median(values)) if values else None,
                "n": len(values),
                "undefined": len(_rows_of(cohort, one)) - len(values),
                "mean_rank": None if ranks is None else float(ranks[k]),
                "subjects": len(subjects),
                "blocks": int(complete.sum()),
                "friedman_p": friedman,
                "chance": float(np.mean(list(chance.values()))) if chance else None,
                "above_chance": float(np.mean(list(one.above[metric].values()))) if chance else None,
            }
        )
    return rows, _pairs(metric, variants, table, weights)


def _by_subject(
    cohort: Cohort, one: Variant, metric: str, subjects: Sequence[str], better: str | None
) -> np.ndarray:
    """Return the mean of every subject's cases; infinitely bad where one of its maps is empty, NaN where nothing is known."""
    worst = {"higher": -np.inf, "lower": np.inf, None: np.nan}[better]
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for row in _rows_of(cohort, one):
        value = one.values[metric].get(row["case"])
        if value is not None:
            found[row["subject"]].append(value)
        elif row.get("empty"):
            found[row["subject"]].append(worst)
    return np.array([np.mean(found[name]) if found[name] else np.nan for name in subjects], float)


def _interval(values: np.ndarray, weights: np.ndarray | None) -> tuple[float | None, float | None]:
    """Return the interval of the mean of what is finite, over draws of subjects."""
    known = np.isfinite(values)
    if weights is None or known.sum() < 2:
        return None, None
    own = weights[:, known]
    many = own.sum(1)
    return ends(np.divide(own @ values[known], many, out=np.full(len(own), np.nan), where=many > 0))


def _pairs(
    metric: str, variants: Sequence[Variant], table: np.ndarray, weights: np.ndarray | None
) -> list[dict[str, Any]]:
    """Return difference, interval and test of every pair of variants, of the subjects of which both are known."""
    out = []
    for first, second in combinations(range(len(variants)), 2):
        with np.errstate(invalid="ignore"):
            difference = table[:, first] - table[:, second]
        known = difference[np.isfinite(difference)]
        low, high = _interval(difference, weights)
        p = None
        if len(known) >= FEW:
            stats = need("scipy.stats", "cohort", "benchmark")
            p = float(stats.wilcoxon(known).pvalue) if known.any() else 1.0
        out.append(
            {
                "label": variants[first].label,
                "metric": metric,
                "first": variants[first].title,
                "second": variants[second].title,
                "difference": float(known.mean()) if len(known) else None,
                "low": low,
                "high": high,
                "wilcoxon_p": p,
                "subjects": len(known),
            }
        )
    tested = [row for row in out if row["wilcoxon_p"] is not None]
    for row, p in zip(tested, holm([row["wilcoxon_p"] for row in tested]), strict=True):
        row["holm_p"] = p
    return [{**row, "holm_p": row.get("holm_p")} for row in out]


# -- words and charts ------------------------------------------------------------------------------------------


def _sentence(numbers: Sequence[Mapping[str, Any]], differences: Sequence[Mapping[str, Any]]) -> str:
    """Say which variant has the best mean rank for the first label, by how much, and at what size."""
    ranked = [row for row in numbers if row["mean_rank"] is not None]
    if not ranked:
        row = next((row for row in numbers if row["mean"] is not None), numbers[0])
        alone = len({one["variant"] for one in numbers if one["label"] == row["label"]}) == 1
        why = (
            "there is no other map to compare it with"
            if alone
            else "no subject has all maps, so that they have no ranks"
        )
        return f"The mean {row['metric']} of {row['variant']} of {row['label']} is {_number(row['mean'])}; {why}."
    first = next((row for row in ranked if row["metric"] == FIRST), ranked[0])
    own = [row for row in ranked if (row["label"], row["metric"]) == (first["label"], first["metric"])]
    best, *others = sorted(own, key=lambda row: row["mean_rank"])
    second = next(
        (row for row in others if row["map"] != best["map"]), others[0]
    )  # rather than another threshold
    ratio = next((row for name in RATIOS for row in numbers if (row["label"], row["variant"], row["metric"]) == (best["label"], best["variant"], name)), None)  # fmt: skip
    kept = f" while it keeps {_number(ratio['mean'])} pixels per pixel of the object" if ratio else ""
    said = (
        f"Of {best['label']}, {best['variant']} has the best mean rank in {best['metric']}: {best['mean_rank']:.2f} of {len(own)} over "
        f"{counted(best['blocks'], 'subject')} (mean {_number(best['mean'])}){kept}"
    )
    pair = next(row for row in differences if row["label"] == best["label"] and row["metric"] == best["metric"] and {row["first"], row["second"]} == {best["variant"], second["variant"]})  # fmt: skip
    if pair["low"] is None:
        return f"{said}."
    sign = 1 if pair["first"] == best["variant"] else -1
    low, high = sorted((sign * pair["low"], sign * pair["high"]))
    sure = "" if low > 0 or high < 0 else ", which may be none"
    return f"{said}; its difference from {second['variant']}, the best of the other maps, is {sign * pair['difference']:+.3g} (95 % interval {low:+.3g} to {high:+.3g}{sure})."


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _caveats(cohort: Cohort, variants: Sequence[Variant]) -> list[str]:
    out = []
    empty = {one.map: sum(bool(row.get("empty")) for row in _rows_of(cohort, one)) for one in variants}
    for label in dict.fromkeys(one.label for one in variants):
        if undrawn := _undrawn(cohort, label):
            out.append(
                f"{label} is not drawn in {counted(len(undrawn), 'case')}, where nothing could be explained: they do not count."
            )
    if any(empty.values()):
        said = ", ".join(f"{many} of {name}" for name, many in empty.items() if many)
        out.append(f"Empty maps ({said}) have no number: they are not in the means, and have the last rank.")
    lower = [f"{one.title} of {one.label}" for one in variants for metric, above in one.above.items() if np.mean(list(above.values())) < 0.5]  # fmt: skip
    if lower:
        out.append(
            f"No better than random maps of equal area for most objects: {', '.join(dict.fromkeys(lower))}."
        )
    if not any(one.chance for one in variants):
        out.append(
            "No random maps of equal area stand beside these numbers: measure dice-explained, whose chance level is measured with it."
        )
    if any(one.at == OWN_REGION for one in variants):
        out.append("A region that a method gives itself has no random map of equal area beside it.")
    if any(FIRST in one.values for one in variants):
        out.append(
            "Dice explained grows with what is kept: read it beside the ratio; one threshold does not suit all methods alike."
        )
    return out


def _charts(numbers: Sequence[Mapping[str, Any]]) -> tuple[Chart, ...]:
    """Return for every label the first metric with random maps beside it, and how it goes with what is kept."""
    out = []
    for label in dict.fromkeys(row["label"] for row in numbers):
        own = [row for row in numbers if row["label"] == label and row["mean"] is not None]
        if not own:  # a label that is drawn nowhere
            continue
        metric = FIRST if any(row["metric"] == FIRST for row in own) else own[0]["metric"]
        rows = [row for row in own if row["metric"] == metric]
        names, axis = tuple(row["variant"] for row in rows), describe(metric)
        ours = Series("maps", names, *(tuple(row[word] for row in rows) for word in ("mean", "low", "high")))
        series = [ours]
        if any(row["chance"] is not None for row in rows):
            series.append(Series("random maps of equal area", names, tuple(row["chance"] for row in rows)))
        caption = "Mean and 95 % bootstrap interval over subjects."
        out.append(Chart("points", f"{axis.title}, {label}", "", axis.axis, tuple(series), caption))
        ratios = {row["variant"]: row for name in reversed(RATIOS) for row in own if row["metric"] == name}
        both = [Series(row["variant"], (ratios[row["variant"]]["mean"],), (row["mean"],), (row["low"],), (row["high"],)) for row in rows if row["variant"] in ratios]  # fmt: skip
        if both:
            caption = "What is kept, and what of the prediction it explains: upper left is better. Means over objects."
            log = all(one.x[0] > 0 for one in both)  # ty: ignore[unsupported-operator]
            out.append(
                Chart(
                    "points",
                    f"{axis.title} and size, {label}",
                    "Pixels kept per pixel of the object",
                    axis.axis,
                    tuple(both),
                    caption,
                    log,
                )
            )
    return tuple(out)
