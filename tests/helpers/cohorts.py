"""Cohorts of known numbers, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import napari_segxai as sx

ABOUT = {"group": "", "label": "organ", "error": ""}
MODEL = {"name": "net", "sha256": "a" * 64}


def cohort(
    maps: list[dict[str, Any]], objects: list[dict[str, Any]] | None = None, missing: int = 0, **record: Any
) -> sx.Cohort:
    """Return a cohort of these rows; what every row has is filled in."""
    rows = [{**ABOUT, "subject": row["case"], "map": "misure", **row} for row in maps]
    sizes = [{**ABOUT, "subject": row["case"], **row} for row in objects or []]
    names = dict.fromkeys(row["case"] for row in rows)
    methods = {name: {"method": name, "parameters": {"iterations": 5}} for name in dict.fromkeys(row["map"] for row in rows)}  # fmt: skip
    labels = list(dict.fromkeys(row["label"] for row in rows))
    facts = {"model": MODEL, "methods": methods, "labels": labels, "cases": [{"id": name} for name in names]}
    return sx.Cohort(Path("results"), {**facts, **record}, sizes, rows, missing)


def made_empty(root: Path, *names: str) -> Path:
    """Empty files: finding cases reads names alone."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root
