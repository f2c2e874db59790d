"""Means, medians and ratios of sums over cases, and trends with their verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from common import Row

from napari_segxai.metrics.functional.ties import above


@dataclass(frozen=True)
class Line:
    """Many cases in one line of a table; numbers are None where no case has them.

    Attributes
    ----------
    cases
        How many.
    empty
        How many maps have no positive value: they show the network nothing, and their Dice counts as 0.
    dice
        Mean Dice explained.
    ratio, median, of_sums
        Pixels of the mask per pixel of the prediction: mean over cases, as in the papers, which small objects dominate;
        median; pixels of all masks per pixel of all predictions.
    image
        Mean ratio of the mask's pixels that differ from the baseline.
    seconds, inside
        Means.
    chance, high
        Dice that random maps of the same area explain: means over cases of their mean and of their 95th percentile.
    above
        Cases in which the Dice is above the latter.
    """

    cases: int
    empty: int
    dice: float | None
    ratio: float | None
    median: float | None
    of_sums: float | None
    image: float | None
    seconds: float | None
    inside: float | None = None
    chance: float | None = None
    high: float | None = None
    above: int = 0

    @property
    def is_chance(self) -> bool:
        """Whether the mean Dice is no better than what random maps of the same area reach."""
        return self.high is not None and not more(self.dice, self.high)


def line(rows: Sequence[Row]) -> Line:
    """Summarise rows of one method; cases in which the network found nothing count for nothing."""
    used = [row for row in rows if row["size"]]
    ratios = [row["mask"] / row["size"] for row in used]
    return Line(
        cases=len(used),
        empty=sum(row["dice"] is None for row in used),
        dice=mean(row["dice"] or 0.0 for row in used),
        ratio=mean(ratios),
        median=float(np.median(ratios)) if ratios else None,
        of_sums=sum(row["mask"] for row in used) / sum(row["size"] for row in used) if used else None,
        image=mean(row["image"] / row["size"] for row in used),
        seconds=mean(row.get("seconds") for row in used),
        inside=mean(row.get("inside") for row in used),
        chance=mean(_level(row, "chance") for row in used),
        high=mean(_level(row, "chance_high") for row in used),
        above=sum(
            more(row["dice"], row["chance_high"]) for row in used if row.get("chance_high") is not None
        ),
    )


def _level(row: Row, key: str) -> float | None:
    """Return what random maps reach; 0 beside a map that is empty, whose Dice counts as 0 as well."""
    return 0.0 if key in row and row["dice"] is None else row.get(key)


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the numbers that are there; None if there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def grouped(rows: Iterable[Row], *keys: str) -> dict[tuple, list[Row]]:
    """Return rows by the values of some columns, in the order in which they first appear."""
    out: dict[tuple, list[Row]] = {}
    for row in rows:
        out.setdefault(tuple(row[key] for key in keys), []).append(row)
    return out


def paired(first: Sequence[Row], second: Sequence[Row], holds: Callable[[Row, Row], bool]) -> tuple[int, int]:
    """Count the cases in which a comparison of two rows holds, and all cases that both have."""
    others = {row["case"]: row for row in second}
    both = [(row, others[row["case"]]) for row in first if row["case"] in others and row.get("size", 1)]
    return sum(bool(holds(a, b)) for a, b in both), len(both)


@dataclass(frozen=True)
class Verdict:
    """Whether a trend of a paper is seen in our numbers.

    Attributes
    ----------
    key
        Names the trend in `reasons.REASONS`.
    claim
        What the paper says or its numbers show.
    rule
        What would have to be so in ours.
    dataset
        Of `common.DATASETS`.
    holds
        None if it cannot be told.
    evidence
        Our numbers.
    why
        What decided: in which share of drawn samples of the images the rule comes out so, or how many images there are.
    """

    key: str
    claim: str
    rule: str
    dataset: str
    holds: bool | None
    evidence: str
    why: str = ""


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as text; a dash where there is none."""
    if value is None or not np.isfinite(value):
        return "-"
    if value and abs(value) < 0.5 * 10**-digits:
        return f"{value:.1g}"
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.0f}"


def more(one: float, other: float) -> bool:
    """Tell whether a number is larger than another, and not by rounding alone."""
    return bool(above(one, other))


def ordered(values: Sequence[float | None], *, falling: bool) -> bool | None:
    """Tell whether numbers rise, or fall, from each to the next, ties being neither; None where one is missing or there are not two."""
    if len(values) < 2 or any(value is None for value in values):
        return None
    first, second = np.array(values[:-1], float), np.array(values[1:], float)
    return bool((above(first, second) if falling else above(second, first)).all())
