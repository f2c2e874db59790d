"""The tables of a comparison beside that of `Comparison.table`: every number with its reason, every point of every curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from napari_segxai.analyses.explain.result import Explanation

WORDS = ("metric", "form", "value", "unit", "better", "reason", "chance", "chance_high", "above_chance")


def values(
    rows: Sequence[Mapping[str, Any]], explanations: Mapping[str, Explanation]
) -> list[dict[str, Any]]:
    """Return one row per map and metric: map, method, metric, form, value, unit, better, reason, and the chance level.

    A value is None (an empty cell) where it is undefined; then the reason says why. Of Dice explained, PPS and pointing
    numbers, chance and chance_high say what random maps of the same area reach (mean, 95th percentile).

    Parameters
    ----------
    rows : sequence of mapping
        `Comparison.rows`.
    explanations : mapping of str to Explanation
        By the name of the map.
    """
    methods = {name: explanation.record.method for name, explanation in explanations.items()}
    return [
        {"map": row["map"], "method": methods.get(row["map"], ""), **{word: row.get(word) for word in WORDS}}
        for row in rows
    ]


def curve_points(
    rows: Sequence[Mapping[str, Any]], explanations: Mapping[str, Explanation]
) -> list[dict[str, Any]]:
    """Return one row per point of every curve: map, metric, share, score, and what random maps reach there.

    The share is that of pixels shown or hidden; over a threshold or over dilation it is the threshold or the stage.
    Dice over dilation stage is called "dice-over-dilation". Parameters are those of `values`.
    """
    out = []
    for row in rows:
        curve = row["curve"]
        if curve is None:
            continue
        level = row.get("chance_curve") or {}
        none = [None] * len(curve["share"])
        found = zip(
            curve["share"], curve["score"], level.get("mean", none), level.get("high", none), strict=True
        )
        for share, score, mean, high in found:
            point = {"map": row["map"], "metric": row["metric"], "share": share, "score": score}
            out.append({**point, "chance": mean, "chance_high": high})
    for name, explanation in explanations.items():
        if (stages := explanation.curves.get("dilation")) is not None:
            pairs = zip(stages["dilations"], stages["dice"], strict=True)
            out += [{"map": name, "metric": "dice-over-dilation", "share": x, "score": y} for x, y in pairs]
    return out
