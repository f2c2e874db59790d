"""Trends of foreground metrics (Aabid and Sicre): table 1."""

from __future__ import annotations

from collections.abc import Sequence

from common import Row
from summary import Verdict, mean, more, number

from trends.rules import of_dataset


def table(rows: Sequence[Row], dataset: str) -> list[Verdict]:
    """Trends of table 1, for Seg-Grad-CAM and Seg-HiRes-Grad-CAM together."""
    rows = of_dataset(rows, dataset)
    if not rows:
        return []
    means = {key: mean(row[key] for row in rows) for key in ("LE", "MLE", "EPG", "MEPG", "F1", "MF1")}
    lost = [1 - (mean(row[key] for row in rows) or 0) for key in ("recall", "masked recall")]
    known = [row for row in rows if row["EPG"] is not None and row["MEPG"] is not None]
    out: list[Verdict] = []

    def say(key: str, claim: str, rule: str, holds: bool | None, evidence: str) -> None:
        out.append(Verdict(f"aabid-sicre-{key}", claim, rule, dataset, holds, evidence))

    def two(first: str, second: str) -> str:
        return f"{number(means[first])} and {number(means[second])}"

    say(
        "le",
        "the localisation error of boxes is larger than that of masks",
        "mean LE above mean MLE, both 1 - IoU",
        more(means["LE"], means["MLE"]),
        two("LE", "MLE"),
    )
    say(
        "le-recall",
        "the localisation error of boxes is larger than that of masks, as the paper's program computes it",
        "the same with 1 - recall, which is what the paper's program computes in place of 1 - IoU",
        more(lost[0], lost[1]),
        f"{number(lost[0])} and {number(lost[1])}",
    )
    hits = sum(not more(row["MEPG"], row["EPG"]) for row in known)
    say(
        "epg",
        "boxes always contain more of the map than masks",
        "EPG at least MEPG in every map",
        hits == len(known) if known else None,
        f"{two('EPG', 'MEPG')}; in {hits} of {len(known)} maps",
    )
    say(
        "f1",
        "F1 of masks is close to F1 of boxes",
        "means differ by at most 0.1 (0.08 in the paper)",
        abs(means["F1"] - means["MF1"]) <= 0.1,
        two("F1", "MF1"),
    )
    say(
        "strict",
        "metrics of masks are stricter than those of boxes (conclusion)",
        "masks give the worse mean in all three: MLE above LE, MEPG below EPG, MF1 below F1",
        bool(known)
        and more(means["MLE"], means["LE"])
        and more(means["EPG"], means["MEPG"])
        and more(means["F1"], means["MF1"]),
        f"LE {two('LE', 'MLE')}, EPG {two('EPG', 'MEPG')}, F1 {two('F1', 'MF1')}",
    )
    return out
