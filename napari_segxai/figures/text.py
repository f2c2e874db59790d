"""Names as matplotlib draws them."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return a text that is drawn as it is: a dollar sign would begin a formula, which a name is not."""
    return text.replace("$", r"\$")
