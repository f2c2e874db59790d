"""Tables and pictures of the page, and what several sections show alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common import Row
from intervals import mean_interval
from summary import Line, grouped, line, number

from napari_segxai.metrics.functional.chance import MARK

CHANCE = ["random maps: mean", "95 %", "above"]
"""Columns beside a Dice explained."""

METHOD_HEAD = ["method", "threshold", "cases", "Dice explained", *CHANCE, "ratio: mean", "median", "of sums",
               "on the image: mean", "seconds"]  # fmt: skip


def marked(one: Line) -> str:
    """Return a Dice, marked where it is no better than that of random maps."""
    return number(one.dice) + (f" {MARK}" if one.is_chance else "")


def reached(one: Line) -> list[str]:
    """Return what random maps explain, and in how many cases the map explains more."""
    return [
        number(one.chance),
        number(one.high),
        f"{one.above} of {one.cases}" if one.chance is not None else "-",
    ]


def method_lines(rows: Iterable[Row]) -> list[list[str]]:
    """Return the lines of a table under `METHOD_HEAD`: one per method and threshold."""
    body, groups = [], grouped(rows, "method", "threshold")
    names = list(dict.fromkeys(method for method, _ in groups))
    for (method, threshold), found in sorted(groups.items(), key=lambda item: names.index(item[0][0])):
        one, used = line(found), [row for row in found if row["size"]]
        values = [
            marked(one) + mean_interval(used, lambda row: row["dice"] or 0.0),
            *reached(one),
            number(one.ratio, 2) + mean_interval(used, lambda row: row["mask"] / row["size"], 2),
            *(number(v, 2) for v in (one.median, one.of_sums, one.image)),
        ]
        count = f"{one.cases}, {one.empty} empty" if one.empty else f"{one.cases}"
        body.append([method, threshold_text(threshold), count, *values, number(one.seconds)])
    return body


def table(head: Sequence[Any], body: Iterable[Sequence[Any]]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *body)]
    return "\n".join(lines)


def picture(pictures: Mapping[str, Path], name: str, words: str) -> str:
    """Return a picture with its caption; nothing where it was not drawn."""
    return f"![{words}](images/{pictures[name].name})\n\n*{words}.*" if name in pictures else ""


def threshold_text(value: float | None) -> str:
    """Return a threshold as text; a dash where there is none."""
    return "-" if value is None else f"{value:g}"


def plural(word: str, n: int, many: str | None = None) -> str:
    """Return a word as it stands behind a number; of many with an s, unless another word is given."""
    return word if n == 1 else many or f"{word}s"
