"""Which label leans on which: where the evidence for each lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.means import grouped, said
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.study import FEW, StudyResult, caveats_of, register_study
from napari_segxai.analyses.cohort.tables.joined import maps_of
from napari_segxai.core.chart import matrix
from napari_segxai.core.errors import UserError, nearest
from napari_segxai.core.options import option
from napari_segxai.metrics.functional.bootstrap import Means

ON = "evidence on "


@dataclass(frozen=True)
class Options:
    """Parameters of the study."""

    map: str = option("", help="the map whose evidence is looked at; the first by default")


@register_study(
    "leans-on",
    title="Which organ leans on which",
    summary="share of the evidence for every label that lies on every other, as a matrix",
    source="shares of the positive part of a map by predicted label",
    cites=("hasany2026misure",),
    options=Options,
)
def leans_on(cohort: Cohort, random: np.random.Generator, options: Options) -> StudyResult:
    """Average the evidence for every label on every label."""
    known = maps_of(cohort)
    if options.map and options.map not in known:
        raise UserError(f"{cohort.folder.name} has no map {options.map!r}; {nearest(options.map, known)}")
    map = options.map or known[0] if known else ""
    own = [row for row in cohort.maps if not row["error"] and row["map"] == map]
    others = list(dict.fromkeys(name.removeprefix(ON) for row in own for name in row if name.startswith(ON)))
    means, rows = Means(random), []
    for label, some in grouped(own, lambda row: row["label"]).items():
        for other in others:
            if mean := means.of(some, f"{ON}{other}"):
                rows.append({"map": map, "label": label, "on": other, **mean})
    if not rows:
        raise UserError(
            f"no map of {cohort.folder} has evidence, which is what lies above 0; run other methods."
        )
    labels = list(dict.fromkeys(row["label"] for row in rows))
    shares = {(row["label"], row["on"]): row["mean"] for row in rows}
    chart = matrix(
        f"Evidence by label, {map}",
        labels,
        others,
        [[shares.get((label, other)) for other in others] for label in labels],
        x="evidence lies on",
        y="evidence for",
        caption="Mean share of the evidence for the label of the row that lies where the label of the column is predicted.",
    )
    caveats = [
        *caveats_of(cohort, cohort.maps),
        "A large label gets a large share by its size alone, and one that is nearby by a coarse map.",
        "Evidence that lies on a label does not prove need: take the label away and look whether the other falls.",
    ]
    background = cohort.record.get("model", {}).get("labels", others[:1])[:1]
    return StudyResult("leans-on", rows, _sentence(rows, background), tuple(caveats), (chart,))


def _sentence(rows: list[dict[str, Any]], background: list[str]) -> str:
    pairs = [row for row in rows if row["on"] not in (row["label"], *background)]
    if not pairs:
        return "There is no other label to lean on beside the background."
    own = {row["label"]: row["mean"] for row in rows if row["on"] == row["label"]}
    top = max(pairs, key=lambda row: row["mean"])
    share = f"{said(top, '.0%')} of the evidence for {top['label']} lies on {top['on']}"
    sure = top["subjects"] >= FEW and top["low"] is not None and top["low"] > 0
    if top["mean"] > own.get(top["label"], 0) and sure:
        return f"{top['label']} leans on {top['on']} more than on itself: {share}, {own.get(top['label'], 0):.0%} on itself."
    rest = "" if sure else "; more subjects are needed to rely on it"
    return f"Most of what labels take from others: {share}, {own.get(top['label'], 0):.0%} on itself{rest}."
