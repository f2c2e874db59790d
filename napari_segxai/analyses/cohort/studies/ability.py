"""Whether layers and channels that separate the object well belong to good predictions."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.means import Row, grouped, series_of
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.study import FEW, StudyResult, caveats_of, register_study
from napari_segxai.core.chart import Chart, Series
from napari_segxai.core.correlation import rank_correlation, rank_correlations
from napari_segxai.core.errors import UserError
from napari_segxai.metrics.functional.bootstrap import Means, ends, is_measured

ALL = "mean of all network layers"
BESIDE = {"confidence": "mean confidence alone", "size_px": "size alone"}
"""What is known without looking into the network."""


@register_study(
    "ability",
    title="Segmentation ability",
    summary="how well every network layer and channel separates the object, and whether that tells good predictions from bad ones",
    source="ProtoSeg, Sheng et al. 2022",
    cites=("he2023",),
)
def ability(cohort: Cohort, random: np.random.Generator) -> StudyResult:
    """Average abilities, and correlate them with the Dice with the truth."""
    flow = sorted((row for row in cohort.flow if not row["error"]), key=lambda row: row["order"])
    lone = [row for row in cohort.channels if not row["error"] and row["how"] == "ability"]
    named = [
        *(
            {**row, "what": "network layer", "name": row["layer"]}
            for row in flow
            if row["maximum"] is not None
        ),
        *({**row, "what": "channel", "name": row["channel"]} for row in lone),
    ]
    named = [row for row in named if is_measured(row.get("ability"))]
    objects = {(row["case"], row["label"]): row for row in cohort.objects if not row["error"]}
    named = [row for row in named if objects.get((row["case"], row["label"]), {"size_px": 1})["size_px"]]
    if not named:
        raise UserError(
            f"{cohort.folder} holds no segmentation ability of a label that is drawn; run the cohort with --flow or --importance ability."
        )
    for (case, label), own in grouped(flow, lambda row: (row["case"], row["label"])).items():
        known = [row["ability"] for row in own if is_measured(row["ability"])]
        if known and objects.get((case, label), {"size_px": 1})["size_px"]:
            about = {"case": case, "label": label, "subject": own[0]["subject"], "error": ""}
            named.append({**about, "what": "all", "name": ALL, "ability": float(np.mean(known))})
    for row in objects.values():
        named += [
            {**row, "what": "without looking inside", "name": words, "ability": row[name]}
            for name, words in BESIDE.items()
            if is_measured(row.get(name)) and row["size_px"]
        ]
    means, rows = Means(random), []
    for (label, what, name), own in grouped(
        named, lambda row: (row["label"], row["what"], row["name"])
    ).items():
        mean = means.of(own, "ability")
        if mean:
            rows.append(
                {"label": label, "what": what, "name": name, **mean, **_correlation(own, objects, means)}
            )
    caveats = [
        *caveats_of(cohort, [*cohort.flow, *cohort.channels]),
        "The ability is measured against the prediction itself: a network that is sure of a wrong object has it too.",
    ]
    many = sum(
        row["what"] in ("network layer", "channel") and row["rank_correlation"] is not None for row in rows
    )
    if many > 1:
        caveats.append(
            f"{many} layers and channels are correlated one by one: some of them correlate by chance."
        )
    if all(row["rank_correlation"] is None for row in rows):
        caveats.append(
            "No correlation with the Dice with the truth is defined: there are too few truths, or all are equally good."
        )
    return StudyResult("ability", rows, _sentence(rows), tuple(caveats), _charts(rows, named, objects))


def _correlation(own: list[Row], objects: dict[Any, Row], means: Means) -> dict[str, Any]:
    """Return the rank correlation with the Dice with the truth, with its interval over subjects."""
    pairs = [
        (row["ability"], dice, row["subject"])
        for row in own
        if is_measured(dice := objects.get((row["case"], row["label"]), {}).get("truth_dice"))
    ]
    out: dict[str, Any] = dict.fromkeys(("rank_correlation", "correlation_low", "correlation_high"))
    if len(pairs) > 2:
        x, y = (np.array([pair[k] for pair in pairs], float) for k in (0, 1))
        out["rank_correlation"] = rank_correlation(x, y, rounding=0)
        subjects = [pair[2] for pair in pairs]
        if out["rank_correlation"] is not None and len(set(subjects)) > 1:
            low, high = ends(rank_correlations(x, y, means.weights(subjects)))
            out |= {"correlation_low": low, "correlation_high": high}
    return out


def _sentence(rows: list[dict[str, Any]]) -> str:
    label = rows[0]["label"]
    own = {row["name"]: row for row in rows if row["label"] == label}
    top = max(
        (row for row in own.values() if row["what"] in ("network layer", "channel")),
        key=lambda row: row["mean"],
    )
    first = f"{top['name']} separates {label} best, with an ability of {top['mean']:.2f}"
    main = own.get(ALL, top)
    if main["rank_correlation"] is None:
        return f"{first}; whether ability tells good predictions from bad ones cannot be told here."
    sure = main["subjects"] >= FEW and (main["correlation_low"] or 0) > 0
    does = "goes along" if sure else "does not go along, as far as this cohort tells,"
    beside = [
        f"{own[words]['rank_correlation']:.2f} of {words}"
        for words in BESIDE.values()
        if words in own and own[words]["rank_correlation"] is not None
    ]
    end = f", beside {' and '.join(beside)}" if beside else ""
    return f"{first}; the {main['name'] if main is not top else 'ability of it'} {does} with the Dice with the truth: rank correlation {main['rank_correlation']:.2f}{end}."


def _charts(rows: list[dict[str, Any]], named: list[Row], objects: dict[Any, Row]) -> tuple[Chart, ...]:
    out = []
    caption = "Mean and 95 % interval over subjects."
    for what in ("network layer", "channel"):
        own = [row for row in rows if row["what"] == what]
        names = list(dict.fromkeys(row["name"] for row in own))
        lines = []
        for label in dict.fromkeys(row["label"] for row in own):
            at = {row["name"]: row for row in own if row["label"] == label}
            lines.append(series_of(label, names, [at.get(name) for name in names]))
        if own:
            kind = "lines" if what == "network layer" else "bars"
            out.append(
                Chart(
                    kind,
                    f"Segmentation ability by {what}",
                    what,
                    "segmentation ability",
                    tuple(lines),
                    caption,
                )
            )
    points = []
    for label, own in grouped(
        [row for row in named if row["what"] == "all"], lambda row: row["label"]
    ).items():
        known = [row for row in own if is_measured(objects.get((row["case"], label), {}).get("truth_dice"))]
        if known:
            dice = tuple(objects[row["case"], label]["truth_dice"] for row in known)
            points.append(
                Series(
                    label,
                    tuple(row["ability"] for row in known),
                    dice,
                    cases=tuple(row["case"] for row in known),
                )
            )
    if points:
        out.append(
            Chart(
                "points",
                "Ability and quality",
                f"segmentation ability, {ALL}",
                "Dice with the truth",
                tuple(points),
                "A point is an object.",
            )
        )
    return tuple(out)
