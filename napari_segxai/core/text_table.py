"""Rows and lists of words as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Rows(list[dict[str, Any]]):
    """A list of mappings that is printed as a table: a column for every key of the first row."""

    def __repr__(self) -> str:
        if not self:
            return "[]"
        heads = list(self[0])
        return aligned([heads, *([_cell(row.get(head)) for head in heads] for row in self)])


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as text, the first column to the left and all others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            [name.ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells, widths[1:], strict=True))]
        ).rstrip()
        for name, *cells in lines
    )


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, which gets an s unless it is one: "1 object", "3 objects"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(words: Sequence[str], last: str = "and") -> str:
    """Return words with commas between them, and "and" (or another word) before the last."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def some_of(words: Sequence[str], between: str = ", ", most: int = 5) -> str:
    """Return words, or parts of a sentence, one after the other; of more than `most` the first, and how many others there are."""
    if len(words) <= most:
        return between.join(words)
    return f"{between.join(words[: most - 1])} and {len(words) - most + 1} more"


def short(name: str, length: int = 16) -> str:
    """Return a name of so many characters at most: of a long one the end, which tells more."""
    return name if len(name) <= length else "…" + name[-length + 1 :]
