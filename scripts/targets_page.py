"""Write the table of docs/targets.md: every method and every kind of question, from what methods say and plans refuse."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.analyses.explain.takes import refusal
from napari_segxai.core.errors import UserError
from napari_segxai.core.target import Component, Target
from napari_segxai.methods.registry import Method, all_methods

PAGE = Path(__file__).parents[1] / "docs" / "targets.md"
START, END = "<!-- written by scripts/targets_page.py -->", "<!-- to here -->"


def own(logits: Any, region: Any) -> Any:
    """Stand for a score of the user's."""
    return logits[0, 1][region].mean()


MASK = np.zeros((4, 4), bool)
KINDS: dict[str, dict[str, Any]] = {
    "component": {"region": Component((0, 0))},
    "false positive": {"error": "false-positive", "truth": MASK},
    "false negative": {"error": "false-negative", "truth": MASK},
    "contrast": {"against": "background"},
    "boundary": {"boundary": (-1, 1)},
    "mass": {"region": "image", "score": "probability", "reduction": "sum"},
    "own score": {"score": own},
    "absent label": {"region": MASK},
}
"""What a target says beside its label."""

NOT_DRAWN = ("false negative", "absent label")
"""Questions of pixels where the label is not drawn."""


def cell(method: Method, kind: str) -> str:
    """Return what a method says to a kind of question: yes, or the letter of a reason."""
    try:
        options = method.options()
    except UserError:  # it needs a parameter, which changes nothing of this
        options = object.__new__(method.options)
    if kind in NOT_DRAWN and method.answers_drawn_alone(options):
        return "no (c)"
    if refusal(method, options, Target("object", **KINDS[kind])):
        return (
            "no (b)"
            if method.reads_of(options)
            else "score=target"
            if hasattr(options, "score")
            else "no (a)"
        )
    if kind == "mass" and not method.reads_of(options):
        return "(d)"
    return "yes"


def table() -> str:
    """Return the table."""
    rows = [["method", *KINDS], ["---"] * (len(KINDS) + 1)]
    rows += [
        [f"`{method.name}`", *(cell(method, kind) for kind in KINDS)]
        for method in all_methods()
        if "image" in method.scope
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def page(text: str) -> str:
    """Return the page with its table written anew."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
