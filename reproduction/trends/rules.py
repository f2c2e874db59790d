"""What the rules of several papers share."""

from __future__ import annotations

from collections.abc import Sequence

from common import Row
from summary import Line, number

SGC = "Seg-Grad-CAM"


def of_dataset(rows: Sequence[Row], dataset: str) -> list[Row]:
    """Return the rows of one data set."""
    return [row for row in rows if row["dataset"] == dataset]


def beyond_chance(name: str, lines: Sequence[Line]) -> tuple[str, str, bool | None, str]:
    """Return claim, rule, verdict and evidence of a Dice explained that has to come of more than the map's area."""
    told = [
        f"{number(one.dice)} against {number(one.chance)} on average and up to {number(one.high)}, above in {one.above} of "
        f"{one.cases} cases"
        for one in lines
    ]
    known = all(one.chance is not None or one.empty == one.cases for one in lines)
    return (
        f"the Dice that {name} explains comes of where its map lies (the paper has no control)",
        "above the 95th percentile of random maps of the same area in more than half of the cases"
        + (", at both thresholds" if len(lines) > 1 else ""),
        all(2 * one.above > one.cases for one in lines) if known else None,
        "; ".join(told),
    )
