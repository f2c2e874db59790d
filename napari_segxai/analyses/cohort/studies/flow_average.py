"""Where labels emerge in the network, over a cohort."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.average_maps import average_maps
from napari_segxai.analyses.cohort.means import grouped, said, series_of
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.study import StudyResult, caveats_of, register_study
from napari_segxai.analyses.cohort.tables.columns import describe
from napari_segxai.analyses.flow.evidence import EMERGED, stays_from
from napari_segxai.core.chart import Chart
from napari_segxai.core.errors import UserError
from napari_segxai.core.text_table import counted
from napari_segxai.metrics.functional.bootstrap import Means

NUMBERS = (
    "dice",
    "dice_truth",
    "energy_inside",
    "ability",
    "lost",
    "lost_skip",
    "lost_zero",
    "lost_skip_zero",
)
"""What is averaged of every network layer."""

NOWHERE = "nowhere"


@register_study(
    "flow-average",
    title="Average information flow",
    summary="means of every network layer and label, average maps, and in which layer each label emerges, as shares of the cases",
    source="Hasany, Petitjean, Meriaudeau 2025, Do's and don'ts of Grad-CAM in image segmentation",
    cites=("hasany_dos_donts",),
)
def flow_average(cohort: Cohort, random: np.random.Generator) -> StudyResult:
    """Average the information flows."""
    worked = sorted((row for row in cohort.flow if not row["error"]), key=lambda row: row["order"])
    seen = {(row["case"], row["label"]) for row in worked if row["maximum"]}
    table = [row for row in worked if (row["case"], row["label"]) in seen]
    if not table:
        raise UserError(
            f"{cohort.folder} holds no information flow of a label that is drawn; run the cohort with --flow (flow=True)."
        )
    means, rows = Means(random), []
    layers = {row["layer"]: row for row in table}
    for (label, layer), own in grouped(table, lambda row: (row["label"], row["layer"])).items():
        about = {"label": label, "layer": layer, **{word: layers[layer][word] for word in ("stage", "order")}}
        for number in NUMBERS:
            if found := means.of(own, number):
                rows.append({**about, "number": number, **found})
    emergence = _emergence(table, list(layers), means)
    caveats = [
        *caveats_of(cohort, cohort.flow),
        "A map that agrees with the prediction says where a layer's evidence lies, not whether the network needs the layer"
        + (
            ": look at `lost`."
            if any(row["number"] == "lost" for row in rows)
            else "; run with --causal for that."
        ),
    ]
    missed = len({(row["case"], row["label"]) for row in worked} - seen)
    if missed:
        caveats.append(
            f"No layer has evidence for {counted(missed, 'object')}, such as objects that are not drawn: they do not count."
        )
    pictures, against = average_maps(cohort, table)
    charts = (*_curves(rows, list(layers)), _histogram(emergence, list(layers)))
    return StudyResult(
        "flow-average",
        rows,
        _sentence(emergence),
        (*caveats, *against),
        charts,
        {"emergence": emergence},
        pictures,
    )


def _emergence(table: list[dict[str, Any]], layers: list[str], means: Means) -> list[dict[str, Any]]:
    """Return in how many cases a label emerges at a layer: from there on every map has a Dice of 0.5 or more."""
    found: dict[str, list[dict[str, Any]]] = {}
    for (_, label), own in grouped(table, lambda row: (row["case"], row["label"])).items():
        first = stays_from([row["dice"] if row["dice"] is not None else 0.0 for row in own])
        place = own[first]["layer"] if first < len(own) else NOWHERE
        found.setdefault(label, []).append({"subject": own[0]["subject"], "place": place})
    out = []
    for label, cases in found.items():
        for layer in (*layers, NOWHERE):
            share = means.of([{**case, "share": float(case["place"] == layer)} for case in cases], "share")
            if share and share["mean"]:
                out.append({"label": label, "layer": layer, **share})
    return out


def _curves(rows: list[dict[str, Any]], layers: list[str]) -> list[Chart]:
    """Return a chart for every number: its mean at every layer, a line per label."""
    out = []
    for number in dict.fromkeys(row["number"] for row in rows):
        by_label = grouped(
            [{**row, "error": ""} for row in rows if row["number"] == number], lambda row: row["label"]
        )
        lines = []
        for label, own in by_label.items():
            at = {row["layer"]: row for row in own}
            lines.append(series_of(label, layers, [at.get(layer) for layer in layers]))
        column = describe(number, "flow")
        caption = "Mean and 95 % interval over subjects at every network layer, in the order of execution."
        out.append(Chart("lines", column.title, "network layer", column.axis, tuple(lines), caption))
    return out


def _histogram(emergence: list[dict[str, Any]], layers: list[str]) -> Chart:
    places = [*layers, NOWHERE]
    bars = []
    for label in dict.fromkeys(row["label"] for row in emergence):
        at = {row["layer"]: row for row in emergence if row["label"] == label}
        bars.append(series_of(label, places, [at.get(place) for place in places]))
    caption = f"A label emerges at the layer from which on every map at half its maximum has a Dice of {EMERGED} or more with the prediction."
    return Chart("bars", "Where labels emerge", "network layer", "share of the cases", tuple(bars), caption)


def _sentence(emergence: list[dict[str, Any]]) -> str:
    most: dict[str, dict[str, Any]] = {}
    for row in emergence:
        if row["label"] not in most or row["mean"] > most[row["label"]]["mean"]:
            most[row["label"]] = row
    parts = [
        f"{label} {'emerges nowhere' if row['layer'] == NOWHERE else 'emerges at ' + row['layer']} in {said(row, '.0%')} of {counted(row['n'], 'case')}"
        for label, row in most.items()
    ]
    return f"{'; '.join(parts)}."
