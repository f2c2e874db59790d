"""Which channel the network needs, over a cohort."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.means import Row, grouped, said, series_of
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.study import FEW, StudyResult, caveats_of, register_study
from napari_segxai.analyses.cohort.tables.columns import describe
from napari_segxai.core.chart import Chart
from napari_segxai.core.errors import UserError
from napari_segxai.metrics.functional.bootstrap import Means, is_measured

NUMBERS = ("dice_drop", "truth_dice_drop", "iou_drop", "probability_drop")
"""What is averaged of every channel."""

ORDER = ("shapley", "between", "permutation", "mean")
"""Which way the sentence is about: the first that was asked for."""

WORDS = {
    "shapley": "Shapley values",
    "between": "taken from other cases",
    "permutation": "pixels mixed",
    "mean": "filled with its mean",
}


@register_study(
    "channels",
    title="Channels",
    summary="what predictions lose without each channel, by every way that was asked for, with intervals over subjects",
    source="permutation: Breiman 2001, for segmentation O'Sullivan et al. 2024; Shapley values of contrasts: Ren et al. 2025",
    cites=("breiman2001", "osullivan2024", "ren2025"),
)
def channels(cohort: Cohort, random: np.random.Generator) -> StudyResult:
    """Average the importance of channels."""
    table = [row for row in cohort.channels if not row["error"] and row["how"] in ORDER]
    if not any(is_measured(row.get("dice_drop")) for row in table):
        raise UserError(
            f"{cohort.folder} holds no importance of channels; run the cohort with --importance all (channels=True)."
        )
    means, rows = Means(random), []
    for (label, how, channel), own in grouped(
        table, lambda row: (row["label"], row["how"], row["channel"])
    ).items():
        for number in NUMBERS:
            if found := means.of(own, number):
                rows.append({"label": label, "how": how, "channel": channel, "number": number, **found})
    caveats = caveats_of(cohort, cohort.channels)
    ways = {row["how"] for row in rows}
    if ways & {"between", "permutation", "mean"} and len({row["channel"] for row in rows}) > 1:
        caveats.append(
            "Channels that say the same may each lose little alone: a small loss does not say that a channel is useless"
            + ("." if "shapley" in ways else "; Shapley values share out what they give together.")
        )
    caveats.append(
        "A spoiled image is one that the network was not trained on; what is lost is partly due to that."
    )
    caveats += _disagreements(rows)
    return StudyResult("channels", rows, _sentence(rows, table, means), tuple(caveats), _charts(rows))


def _tops(rows: list[dict[str, Any]], label: str, how: str) -> list[dict[str, Any]]:
    """Return the channels by what is lost of the Dice, the most first."""
    own = [row for row in rows if (row["label"], row["how"], row["number"]) == (label, how, "dice_drop")]
    return sorted(own, key=lambda row: -row["mean"])


def _disagreements(rows: list[dict[str, Any]]) -> list[str]:
    out = []
    for label in dict.fromkeys(row["label"] for row in rows):
        first = {how: tops[0]["channel"] for how in ORDER if (tops := _tops(rows, label, how))}
        if len(set(first.values())) > 1:
            told = ", ".join(f"{channel} ({WORDS[how]})" for how, channel in first.items())
            out.append(f"The ways do not agree about which channel matters most to {label}: {told}.")
    return out


def _sentence(rows: list[dict[str, Any]], table: list[dict[str, Any]], means: Means) -> str:
    parts = []
    for label in dict.fromkeys(row["label"] for row in rows):
        how = next(how for how in ORDER if _tops(rows, label, how))
        first, *rest = _tops(rows, label, how)
        what = (
            f"{first['channel']} gives {label} {said(first)} of the Dice"
            if how == "shapley"
            else f"{label} loses {said(first)} of its Dice without {first['channel']}"
        )
        if not rest:
            parts.append(f"{what} ({WORDS[how]}), the only channel")
            continue
        sure = _is_more(table, label, how, first["channel"], rest[0]["channel"], means)
        beside = f"{rest[0]['channel']} ({rest[0]['mean']:.2f})"
        end = {
            None: f"beside {beside}, of too few subjects to say that this is more",
            True: f"more than of {beside}",
            False: f"which is not clearly more than of {beside}",
        }[sure]
        parts.append(f"{what} ({WORDS[how]}), {end}")
    return f"{'; '.join(parts)}."


def _is_more(table: list[Row], label: str, how: str, one: str, other: str, means: Means) -> bool | None:
    """Tell whether the interval of the difference, case by case, lies above 0; None of too few subjects, if it does."""
    losses: dict[str, dict[str, float]] = {one: {}, other: {}}
    subjects = {row["case"]: row["subject"] for row in table}
    for row in table:
        if (
            (row["label"], row["how"]) == (label, how)
            and row["channel"] in losses
            and is_measured(row["dice_drop"])
        ):
            losses[row["channel"]][row["case"]] = row["dice_drop"]
    cases = [case for case in losses[one] if case in losses[other]]
    difference = np.array([losses[one][case] - losses[other][case] for case in cases])
    low, _ = means.between(difference, [subjects[case] for case in cases])
    if low is not None and low <= 0:
        return False
    return True if low is not None and len({subjects[case] for case in cases}) >= FEW else None


def _charts(rows: list[dict[str, Any]]) -> tuple[Chart, ...]:
    """Return a chart for every way: the channels, with bars per label."""
    out = []
    for how in dict.fromkeys(row["how"] for row in rows):
        own = [row for row in rows if (row["how"], row["number"]) == (how, "dice_drop")]
        names = list(dict.fromkeys(row["channel"] for row in own))
        bars = []
        for label in dict.fromkeys(row["label"] for row in own):
            at = {row["channel"]: row for row in own if row["label"] == label}
            bars.append(series_of(label, names, [at.get(name) for name in names]))
        column = describe("dice_drop", "channels")
        caption = "Mean and 95 % interval over subjects; 1 is the whole Dice."
        out.append(Chart("bars", f"Channels: {WORDS[how]}", "channel", column.axis, tuple(bars), caption))
    return tuple(out)
