"""Trends of MiSuRe over many objects: figures 4 to 7 and table 7."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common import Row
from intervals import FEW
from summary import Verdict, number

NONE = 0.3
"""A rank correlation that lies with its whole interval between this and its negative is none."""

FIGURES = {"n_dilations": "dilations", "ratio_image": "ratio, counted on the image"}


def verdicts(told: Mapping[str, Row]) -> list[Verdict]:
    """Return verdicts of what the cohorts' studies say, by their intervals over images."""
    out = []
    for dataset, constant in (("triangle", True), ("tissue", False)):
        rows = told[dataset]["studies"]["size"]["rows"] if dataset in told else []
        for number_, words in FIGURES.items():
            for row in rows:
                if row["number"] == number_:
                    out.append(_size(dataset, row, words, constant))
    for dataset in told:
        out += _reliability(dataset, told[dataset]["studies"]["reliability"]["rows"])
    return out


def _size(dataset: str, row: Row, words: str, constant: bool) -> Verdict:
    low, high, found = row["low"], row["high"], row["rank_correlation"]
    evidence = (
        f"rank correlation {number(found, 2)} ({number(low, 2)} to {number(high, 2)}) over {row['n']} objects"
    )
    if constant:
        claim = f"Triangle: {words} fairly constant, whatever the size of the object (figure 6)"
        rule = f"95 % interval of the rank correlation with size between -{NONE:g} and {NONE:g}"
        if found is None:
            holds, evidence = True, f"the same for all of {row['n']} objects"
        else:
            holds = _inside(low, high, -NONE, NONE)
    else:
        claim = f"real images: {words} fewer, the larger the object (figures 4, 5 and 7)"
        rule = "95 % interval of the rank correlation with size below 0"
        if found is None:
            holds, evidence = False, f"the same for all of {row['n']} objects"
        else:
            holds = None if low is None else True if high < 0 else False if low > 0 else None
    if row["subjects"] < FEW:
        holds = None
    label = "" if constant else f", {row['label']}"
    key, why = f"cohort-size-{row['number']}{label}", "" if constant else "of blocks of this one brain"
    return Verdict(key, claim, rule, f"{dataset}{label}", holds, evidence, why)


def _inside(low: float | None, high: float | None, least: float, most: float) -> bool | None:
    """Tell whether an interval lies between two numbers; False where it lies outside, None where it does neither."""
    if low is None or high is None:
        return None
    if least <= low and high <= most:
        return True
    return False if low > most or high < least else None


def _reliability(dataset: str, rows: Sequence[Row]) -> list[Verdict]:
    out = []
    for row in rows:
        if row["features"] == "explanation":
            low, high = row["auc_low"], row["auc_high"]
            holds = None if low is None else True if low > 0.5 else False if high < 0.5 else None
            out.append(
                Verdict(
                    f"cohort-reliability-{row.get('label', '')}",
                    "dilations, Dice explained and ratio foretell whether the segmentation is good (table 7: AUC .72 to .98)",
                    "95 % interval of the area under the ROC curve above 0.5",
                    dataset,
                    holds,
                    f"AUC {number(row['auc'], 2)} ({number(low, 2)} to {number(high, 2)})",
                )
            )
    return out
