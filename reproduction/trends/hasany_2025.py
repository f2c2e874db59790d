"""Trends of a guided tour (Hasany et al. 2025): table 1 and figure 3."""

from __future__ import annotations

from collections.abc import Sequence

import hasany_2025_table1
from common import Row
from summary import Line, Verdict, grouped, line, more, number, ordered, paired

from trends.rules import SGC, beyond_chance, of_dataset


def table(rows: Sequence[Row], dataset: str) -> list[Verdict]:
    """Trends of table 1 and figure 3."""
    rows = of_dataset(rows, dataset)
    by = grouped(rows, "method", "threshold")
    lines: dict[tuple, Line] = {key: line(found) for key, found in by.items()}
    if not lines or not all(one.cases for one in lines.values()):
        return []
    cams, low, high = tuple(hasany_2025_table1.CAMS), *hasany_2025_table1.CAM_THRESHOLDS
    rises = [method for method, threshold in by if method.startswith("RISE") and threshold == 0.2]
    out: list[Verdict] = []

    def say(key: str, claim: str, rule: str, holds: bool | None, evidence: str) -> None:
        out.append(Verdict(f"hasany-2025-{key}", claim, rule, dataset, holds, evidence))

    def both(first: str, second: str, quantity: str) -> str:
        return "; ".join(
            f"at {t:g} {number(getattr(lines[first, t], quantity))} and {number(getattr(lines[second, t], quantity))}"
            for t in (low, high)
        )

    say(
        "xres-ratio",
        "Seg-XRes-CAM keeps fewer pixels than Seg-Grad-CAM",
        "lower mean ratio at both thresholds",
        all(more(lines[SGC, t].ratio, lines["Seg-XRes-CAM", t].ratio) for t in (low, high)),
        both("Seg-XRes-CAM", SGC, "ratio"),
    )
    say(
        "xres-dice",
        "Seg-XRes-CAM explains more Dice than Seg-Grad-CAM",
        "higher mean Dice at both thresholds",
        all(more(lines["Seg-XRes-CAM", t].dice, lines[SGC, t].dice) for t in (low, high)),
        both("Seg-XRes-CAM", SGC, "dice"),
    )
    said = "; ".join(
        f"{name} {number(lines[name, low].dice)} and {number(lines[name, high].dice)}" for name in cams
    )
    say(
        "eigen-worst",
        "Seg-Eigen-CAM explains the least Dice of the four",
        "lowest mean Dice of the four at both thresholds",
        all(
            more(
                min(lines[name, t].dice for name in cams if name != "Seg-Eigen-CAM"),
                lines["Seg-Eigen-CAM", t].dice,
            )
            for t in (low, high)
        ),
        said,
    )
    say(
        "ablation-best",
        "Seg-Ablation-CAM leads the methods on features",
        "highest mean Dice of the four at both thresholds",
        all(
            more(
                lines["Seg-Ablation-CAM", t].dice,
                max(lines[name, t].dice for name in cams if name != "Seg-Ablation-CAM"),
            )
            for t in (low, high)
        ),
        said,
    )
    say(
        "rise-threshold",
        "RISE: a higher threshold lowers Dice and ratio",
        "mean Dice and mean ratio lower at 0.4 than at 0.2, for every number of masks",
        all(
            more(lines[name, 0.2].dice, lines[name, 0.4].dice)
            and more(lines[name, 0.2].ratio, lines[name, 0.4].ratio)
            for name in rises
        ),
        "; ".join(
            f"{name}: Dice {number(lines[name, 0.2].dice)}, {number(lines[name, 0.4].dice)}, ratio "
            f"{number(lines[name, 0.2].ratio, 2)}, {number(lines[name, 0.4].ratio, 2)}"
            for name in rises
        ),
    )
    for name in cams[1:]:  # Seg-Grad-CAM is told of with the other paper's table
        found = tuple(lines[name, t] for t in (low, high))
        say(f"chance-{name.split('-')[1].lower()}", *beyond_chance(name, found))
    ratios = {t: [lines[name, t].ratio for name in rises] for t in hasany_2025_table1.RISE_THRESHOLDS}
    say(
        "rise-masks-ratio",
        "RISE: more masks lower the ratio",
        "mean ratios fall with every step of masks, at both thresholds",
        None if len(rises) < 2 else all(ordered(values, falling=True) for values in ratios.values()),
        "; ".join(f"at {t:g} " + ", ".join(number(v, 2) for v in values) for t, values in ratios.items()),
    )
    dices = [lines[name, 0.4].dice for name in rises]
    say(
        "rise-masks-dice",
        "RISE at 0.4: more masks lower Dice",
        "mean Dice at 0.4 falls with every step of masks",
        ordered(dices, falling=True),
        ", ".join(number(value) for value in dices),
    )
    inside = [lines[name, 0.2].inside for name in (rises[0], rises[-1])]
    hits, total = paired(
        by[rises[-1], 0.2], by[rises[0], 0.2], lambda a, b: more(a["inside"] or 0, b["inside"] or 0)
    )
    say(
        "rise-concentrated",
        "RISE: with more masks the map is more concentrated on the object (figure 3)",
        f"mean share of the scaled map in the prediction higher with {rises[-1]} than with {rises[0]}",
        None if len(rises) < 2 else more(inside[1], inside[0]),
        f"{number(inside[0])} and {number(inside[1])} (in {hits} of {total} cases)",
    )
    seconds = {name: lines[name, low].seconds for name in cams} | {
        name: lines[name, 0.2].seconds for name in rises
    }
    say(
        "time",
        "Seg-Grad-CAM and Seg-XRes-CAM take less than a second; Seg-Ablation-CAM and RISE take many passes",
        f"the first two below 1 s; Seg-Ablation-CAM and {rises[-1]} longer than both",
        max(seconds[SGC], seconds["Seg-XRes-CAM"]) < min(1, seconds["Seg-Ablation-CAM"], seconds[rises[-1]]),
        ", ".join(f"{name} {number(value)} s" for name, value in seconds.items()),
    )
    return out
