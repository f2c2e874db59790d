"""The one error that a user can cause."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what was asked for, told in one sentence that also says what would be right.

    The command line prints it and exits with status 2; the widgets show it; scripts can catch it as
    a `ValueError`.
    """


def number(value: float) -> str:
    """Return a number as it is written in a sentence, however large it is."""
    try:
        return f"{value:g}"
    except (OverflowError, ValueError):  # a whole number beyond what a float holds
        return "a number of more than 300 digits"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean ...?" text: the known names nearest to `name`, or all of them when few."""
    known = [str(k) for k in known]
    close = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    if len(known) <= 12:
        return "known are " + ", ".join(repr(k) for k in known) + "."
    return f"there are {len(known)} to choose from, such as {known[0]!r}."
