"""Whether an explanation tells that a segmentation can be relied on, beside what is known without one.

A prediction is good if its Dice with the truth is above a value. For every label, logistic regression on standardized
numbers of the explanation says so of subjects that it has not seen (folds by subject, repeated). The same is done with the
size of the object, the mean confidence, the mean entropy, and of an ensemble how far its members agree, each alone, and with size, confidence and explanation together: only the difference tells whether
the explanation adds anything. Areas under curves compare objects of one fold, since those of others were judged by another
classifier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_segxai.analyses.cohort import classifier
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.statistics import Pairs, calibration, risk_area, risk_coverage, roc
from napari_segxai.analyses.cohort.study import StudyResult, caveats_of, register_study
from napari_segxai.analyses.cohort.tables.columns import describe
from napari_segxai.analyses.cohort.tables.joined import find_map, joined
from napari_segxai.analyses.cohort.uncertainty import explained_uncertainty
from napari_segxai.core.chart import Chart, Series
from napari_segxai.core.errors import UserError
from napari_segxai.core.options import option
from napari_segxai.core.text_table import counted
from napari_segxai.io.saving import check_file
from napari_segxai.metrics.functional.bootstrap import drawn, ends, is_measured

LEAST, OF_A_KIND = 30, 10
"""Objects, and objects of each kind, below which nothing is fitted."""

EXPLANATION, KNOWN, ALL = "explanation", "size + confidence", "explanation + size + confidence"
BASELINES = {
    "majority": (),
    "size": ("size_px",),
    "confidence": ("confidence",),
    "entropy": ("entropy_bits",),
    KNOWN: ("size_px", "confidence"),
}
ENSEMBLE, AGREEMENT = "members", ("members_dice",)
"""A baseline of ensembles alone: how far their members agree."""

KEPT = (EXPLANATION, KNOWN, ALL)
"""Sets of features whose probability every object gets, and which are saved."""

AGAINST = ((ALL, KNOWN), (EXPLANATION, "size"), (EXPLANATION, "confidence"), (EXPLANATION, ENSEMBLE))
"""Differences that are told, where both are known: the first is what the sentence is about."""


@dataclass(frozen=True)
class Options:
    """Parameters of the study."""

    good: float = option(0.9, ge=0, le=1, help="a prediction is good if its Dice with the truth is above")
    features: str = option(
        "n_dilations,dice_explained,ratio_image", help="numbers of the explanation, names with commas"
    )
    map: str = option("", help="the map that they are of; the first that has them by default")
    folds: int = option(5, ge=2, le=20, help="parts of the subjects, each of which is held out once")
    repeats: int = option(10, ge=1, le=100, help="how often the subjects are divided anew")
    save: str = option("", help="file (JSON) to which the classifiers are written")
    apply: str = option("", help="such a file of another cohort, whose classifiers are applied to this one")


@dataclass(frozen=True)
class Judged:
    """What is known of the objects of one label.

    Attributes
    ----------
    rows
        Those with a truth.
    is_good
        Of each.
    folds, probability
        Where each was held out, and its probability by every set of features: of shape (repeats, objects).
    """

    label: str
    rows: list[dict[str, Any]]
    is_good: np.ndarray
    folds: np.ndarray
    probability: Mapping[str, np.ndarray]

    @property
    def risk(self) -> np.ndarray:
        """1 - Dice with the truth."""
        return 1 - np.array([row["truth_dice"] for row in self.rows], float)


@register_study(
    "reliability",
    title="Reliability",
    summary="whether an explanation tells a good prediction from a bad one, beside size and confidence alone (needs truths)",
    source="Hasany, Mériaudeau, Petitjean 2026, section 5.5, figures 8 and 9, table 7; risk and coverage as Zenk et al. 2025; what uncertainty comes from as Molchanova et al. 2025",
    cites=("hasany2026misure", "zenk2025", "molchanova2025"),
    options=Options,
)
def reliability(cohort: Cohort, random: np.random.Generator, options: Options) -> StudyResult:
    """Fit or apply a classifier of reliability for every label."""
    if options.apply:
        if options.save:
            raise UserError("reliability: give either save or apply; what is applied is saved already.")
        return _applied(cohort, random, options)
    if options.save:
        check_file(options.save)
    features = tuple(dict.fromkeys(name.strip() for name in options.features.split(",") if name.strip()))
    map = find_map(cohort, features, options.map)
    sets = {**BASELINES, EXPLANATION: features, ALL: (*features, *BASELINES[KNOWN])}
    if any(is_measured(row.get(AGREEMENT[0])) for row in cohort.objects):
        sets[ENSEMBLE] = AGREEMENT
    used = list(dict.fromkeys(name for one in sets.values() for name in one))
    table = joined(cohort, map)
    judged, lacks, fitted, rows, more = [], [], {}, [], _Tables()
    own_chance = random.spawn(1)[0]  # so that the numbers of the classifiers are as they were without it
    for label in dict.fromkeys(row["label"] for row in table):
        own = [row for row in table if row["label"] == label]
        whole = [row for row in own if all(is_measured(row.get(name)) for name in used)]
        more.uncertainty += explained_uncertainty(label, own, options.folds, own_chance)
        one, lack = _judge(label, whole, sets, options, random)
        if len(whole) < len(own):
            lacks.append(
                f"{len(own) - len(whole)} of {len(own)} objects of {label} lack a number and do not count."
            )
        if one is None:
            lacks.append(lack)
            continue
        judged.append(one)
        fitted[label] = {name: classifier.fit(one.rows, sets[name], one.is_good) for name in KEPT}
        rows += _rows(one, random, more)
        more.add(
            one, fitted[label], [row for row in whole if not is_measured(row.get("truth_dice"))], options
        )
        lacks += _constant(one, features)
    if not judged:
        raise UserError(f"reliability: {lacks[-1] if lacks else 'there is no object with a map.'}")
    if options.save:
        classifier.save(options.save, cohort, map, options.good, fitted)
    caveats = [*caveats_of(cohort), *lacks, *_caveats(judged, options)]
    charts = [chart for one in judged for chart in charts_of(one)]
    return StudyResult(
        "reliability", rows, _sentence(more.differences), tuple(caveats), tuple(charts), more.named()
    )


# -- fitting ---------------------------------------------------------------------------------------------------


def _judge(
    label: str,
    rows: Sequence[dict[str, Any]],
    sets: Mapping[str, tuple[str, ...]],
    options: Options,
    random: np.random.Generator,
) -> tuple[Judged | None, str]:
    """Judge objects that were held out; or say why there are too few."""
    known = [row for row in rows if is_measured(row.get("truth_dice"))]
    is_good = np.array([row["truth_dice"] > options.good for row in known], bool)
    subjects = [row["subject"] for row in known]
    good = int(is_good.sum())
    if len(known) < LEAST or min(good, len(known) - good) < OF_A_KIND:
        return None, (
            f"{label} has {len(known)} objects with truth and all numbers, {good} of them good (Dice above {options.good:g}); {LEAST} with "
            f"{OF_A_KIND} of each kind are needed."
        )
    if len(set(subjects)) < options.folds:
        return None, f"{label} is known of {len(set(subjects))} subjects; {options.folds} folds need as many."
    folds = classifier.make_folds(is_good, subjects, options.folds, options.repeats, random)
    found = {name: classifier.held_out(known, some, is_good, folds) for name, some in sets.items()}
    return Judged(label, known, is_good, folds, found), ""


def _rows(one: Judged, random: np.random.Generator, more: _Tables) -> list[dict[str, Any]]:
    """Return a row for every set of features, and note the differences between sets."""
    weights = drawn([row["subject"] for row in one.rows], random)
    areas: dict[str, tuple[float, np.ndarray]] = {}
    rows = []
    for name, p in one.probability.items():
        pairs = Pairs.of(p, one.is_good, one.folds)
        areas[name] = float(pairs.area()[0]), pairs.area(weights)
        right = ((p > 0.5) == one.is_good).mean(0)
        shares = weights @ right / weights.sum(1)
        low, high = ends(areas[name][1])
        rows.append(
            {
                "label": one.label,
                "features": name,
                "auc": areas[name][0],
                "auc_low": low,
                "auc_high": high,
                "accuracy": float(right.mean()),
                **dict(zip(("accuracy_low", "accuracy_high"), ends(shares), strict=True)),
                "brier": float(((p - one.is_good) ** 2).mean()),
                "risk_coverage": risk_area(p, one.risk, one.folds),
                "n": len(one.rows),
                "good": int(one.is_good.sum()),
                "subjects": len({row["subject"] for row in one.rows}),
            }
        )
    for first, second in AGAINST:
        if second not in areas:
            continue
        low, high = ends(areas[first][1] - areas[second][1])
        more.differences.append(
            {
                "label": one.label,
                "features": first,
                "against": second,
                "auc": areas[first][0],
                "auc_against": areas[second][0],
                "difference": areas[first][0] - areas[second][0],
                "low": low,
                "high": high,
            }
        )
    return rows


class _Tables:
    """The further tables of the study."""

    def __init__(self) -> None:
        self.differences: list[dict[str, Any]] = []
        self.coefficients: list[dict[str, Any]] = []
        self.objects: list[dict[str, Any]] = []
        self.uncertainty: list[dict[str, Any]] = []

    def named(self) -> dict[str, list[dict[str, Any]]]:
        """Return them by name."""
        found = {
            "objects": self.objects,
            "differences": self.differences,
            "coefficients": self.coefficients,
        }
        return found | ({"uncertainty": self.uncertainty} if self.uncertainty else {})

    def add(
        self,
        one: Judged,
        fitted: Mapping[str, classifier.Classifier],
        unknown: Sequence[dict[str, Any]],
        options: Options,
    ) -> None:
        """Take the probability of every object, held out where its truth is known, and the coefficients."""
        means = {name: p.mean(0) for name, p in one.probability.items()}
        for k, row in enumerate(one.rows):
            p = {f"probability ({name})": float(means[name][k]) for name in KEPT}
            self.objects.append({**_about(row, options.good), **p, "how": "held out"})
        others = {name: fitted[name].probability(unknown) for name in KEPT}
        for k, row in enumerate(unknown):
            p = {f"probability ({name})": float(others[name][k]) for name in KEPT}
            self.objects.append({**_about(row, options.good), **p, "how": "fitted on the others"})
        for name, each in fitted.items():
            for feature, value in zip(each.features, each.coefficients, strict=True):
                self.coefficients.append(
                    {
                        "label": one.label,
                        "features": name,
                        "feature": feature,
                        "log_odds_per_deviation": value,
                    }
                )


def _about(row: Mapping[str, Any], good: float) -> dict[str, Any]:
    dice = row.get("truth_dice")
    known = (
        {"truth_dice": dice, "good": dice > good} if is_measured(dice) else {"truth_dice": None, "good": None}
    )
    return {word: row[word] for word in ("case", "subject", "label")} | known


# -- applying --------------------------------------------------------------------------------------------------


def _applied(cohort: Cohort, random: np.random.Generator, options: Options) -> StudyResult:
    """Give every object its probability by the classifiers of another cohort."""
    map, good, labels = classifier.load(options.apply, cohort)
    rows, objects, caveats, charts = [], [], caveats_of(cohort), []
    for label, sets in labels.items():
        used = {name for one in sets.values() for name in one.features}
        own = [row for row in joined(cohort, map) if row["label"] == label]
        whole = [row for row in own if all(is_measured(row.get(name)) for name in used)]
        if len(whole) < len(own):
            caveats.append(
                f"{len(own) - len(whole)} of {len(own)} objects of {label} lack a number and have no probability."
            )
        if not whole:
            continue
        found = {name: one.probability(whole) for name, one in sets.items()}
        for k, row in enumerate(whole):
            p = {f"probability ({name})": float(found[name][k]) for name in sets}
            objects.append({**_about(row, good), **p, "how": "fitted on another cohort"})
        known = np.array([is_measured(row.get("truth_dice")) for row in whole])
        seen = [row for row, is_known in zip(whole, known, strict=True) if is_known]
        is_good = np.array([row["truth_dice"] > good for row in seen], bool)
        weights = drawn([row["subject"] for row in seen], random) if seen else np.ones((1, 0))
        for name, p in found.items():
            pairs = Pairs.of(p[known][None], is_good)
            low, high = ends(pairs.area(weights)) if seen else (None, None)
            area = float(pairs.area()[0])
            rows.append(
                {
                    "label": label,
                    "features": name,
                    "n": len(whole),
                    "called_good": int((p > 0.5).sum()),
                    "with_truth": len(seen),
                    "good": int(is_good.sum()),
                    "auc": area if np.isfinite(area) else None,
                    "auc_low": low,
                    "auc_high": high,
                    "accuracy": float(((p[known] > 0.5) == is_good).mean()) if seen else None,
                }
            )
        if 0 < is_good.sum() < len(seen):
            p = {name: one[known][None] for name, one in found.items()}
            charts += charts_of(Judged(label, seen, is_good, np.zeros((1, len(seen)), int), p))
    if not rows:
        raise UserError(
            f"{cohort.folder.name} has no object of {', '.join(labels)} with the numbers that {options.apply} needs."
        )
    others = [label for label in cohort.record["labels"] if label not in labels]
    if others:
        caveats.append(f"The file holds no classifier of {', '.join(others)}.")
    caveats.append("A classifier holds for images like those on which it was fitted.")
    row = next((row for row in rows if row["features"] == ALL), rows[0])
    said = f"{row['called_good']} of {row['n']} objects of {row['label']} are likelier good than not (Dice above {good:g}), by {row['features']}"
    if row["auc"] is not None:
        said += f"; against their truth the area under the ROC curve is {row['auc']:.2f}{_between(row['auc_low'], row['auc_high'])}"
    return StudyResult("reliability", rows, f"{said}.", tuple(caveats), tuple(charts), {"objects": objects})


# -- words and charts ------------------------------------------------------------------------------------------


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None else f" (95 % interval {low:.2f} to {high:.2f})"


def _sentence(differences: Sequence[Mapping[str, Any]]) -> str:
    """Say for every label whether the explanation adds anything, by the interval of the difference alone."""
    said = []
    for row in differences:
        if (row["features"], row["against"]) != AGAINST[0]:
            continue
        low, high = row["low"], row["high"]
        if low is None or low <= 0 <= high:
            verdict = "adds nothing to size and confidence, as far as this cohort tells"
        else:
            verdict = "adds to size and confidence" if low > 0 else "takes away from size and confidence"
        between = "" if low is None else f", 95 % interval {low:+.3f} to {high:+.3f}"
        said.append(
            f"of {row['label']} it {verdict} (area under the ROC curve {row['auc']:.2f} with it, {row['auc_against']:.2f} without; "
            f"difference {row['difference']:+.3f}{between})"
        )
    return f"Of whether a prediction is good, the explanation tells: {'; '.join(said)}."


def _constant(one: Judged, features: Sequence[str]) -> list[str]:
    same = [name for name in features if len({row[name] for row in one.rows}) < 2]
    return (
        [f"{', '.join(same)} of {one.label} is the same for all objects and tells nothing."] if same else []
    )


def _caveats(judged: Sequence[Judged], options: Options) -> list[str]:
    out = []
    for one in judged:
        share = max(one.is_good.mean(), 1 - one.is_good.mean())
        if share > 0.8:
            out.append(
                f"{share:.0%} of the objects of {one.label} are of one kind: an accuracy of {share:.2f} needs no explanation."
            )
    if len(judged) > 1:
        out.append(f"{len(judged)} labels were looked at, and one of 20 intervals misses by chance.")
    out.append(
        f"What counts as good, a Dice above {options.good:g}, is a choice; the intervals draw subjects anew and do not fit again."
    )
    return out


def charts_of(one: Judged) -> list[Chart]:
    """Return ROC, calibration, and risk against coverage of one label."""
    mean = {name: p.mean(0) for name, p in one.probability.items() if name != "majority"}
    areas = {name: float(Pairs.of(one.probability[name], one.is_good, one.folds).area()[0]) for name in mean}
    short = {ALL: "all three"}
    curves = [
        Series(f"{short.get(name, name)} ({areas[name]:.2f})", *roc(p, one.is_good))
        for name, p in mean.items()
    ]
    diagonal = Series("chance", (0, 1), (0, 1), kind="lines")
    receiver = Chart(
        "lines",
        f"ROC, {one.label}",
        "False positive rate",
        "True positive rate",
        (*curves, diagonal),
        "Good predictions are positive; all three are explanation, size and confidence. In brackets the area under the curve, of objects of one fold; the curves are of the mean of all repeats.",
    )
    bins = []
    for name in (EXPLANATION, ALL):
        if name in mean:
            found = calibration(mean[name], one.is_good)
            x, y, low, high = (
                [row[word] for row in found] for word in ("probability", "share", "low", "high")
            )
            words = tuple(counted(row["n"], "object") for row in found)
            bins.append(Series(short.get(name, name), tuple(x), tuple(y), tuple(low), tuple(high), words))
    diagonal = Series("as it should be", (0, 1), (0, 1), kind="lines")
    calibrated = Chart(
        "points",
        f"Calibration, {one.label}",
        "Probability",
        "Share that is good",
        (*bins, diagonal),
        "Objects in bins of about equal numbers, with Wilson's 95 % interval.",
    )
    risks = [Series(short.get(name, name), *risk_coverage(p, one.risk)) for name, p in mean.items()]
    limits = {"best possible": -one.risk, "no order": np.zeros(len(one.rows))}
    risks += [Series(name, *risk_coverage(score, one.risk), kind="lines") for name, score in limits.items()]
    covered = Chart(
        "lines",
        f"Risk and coverage, {one.label}",
        "Coverage (share of the objects that is kept, the surest first)",
        f"Risk (1 - {describe('truth_dice').title})",
        tuple(risks),
        "Lower is better. By the mean of all repeats.",
    )
    return [receiver, calibrated, covered]
