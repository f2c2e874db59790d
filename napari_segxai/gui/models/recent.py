"""The models that were recently loaded from files. Their paths, and nothing else, are kept beside napari's settings.

Nothing here reads or loads a model: a model of the list is opened like any other file, and the user is asked
whether to trust it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from napari.settings import get_settings

FILE = "napari-segxai-recent-models.json"
COUNT = 8
LARGEST = 2**16
"""Bytes that are read of the list at most: it is a file of ours, but others may have written to it."""


class Recent(NamedTuple):
    """A model that was recently loaded."""

    path: str
    name: str


def place() -> Path | None:
    """Return the file that holds the list; None where napari keeps no settings."""
    settings = get_settings().config_path
    return None if settings is None else Path(settings).parent / FILE


def recent_models() -> list[Recent]:
    """Return the recently loaded models, the last one first; empty if the list cannot be read."""
    path = place()
    try:
        with open(path, encoding="utf-8") as file:  # type: ignore[arg-type]
            rows = json.loads(file.read(LARGEST))["recent"]
        return [Recent(str(row["path"]), str(row["name"])) for row in rows][:COUNT]
    except (OSError, TypeError, ValueError, LookupError, RecursionError):
        return []


def remember(path: Path, name: str) -> None:
    """Put a model at the head of the list."""
    own = Recent(str(path), name)
    _write([own, *(other for other in recent_models() if other.path != own.path)][:COUNT])


def forget_all() -> None:
    """Empty the list."""
    _write([])


def _write(models: list[Recent]) -> None:
    path = place()
    if path is None:
        return
    text = json.dumps({"recent": [model._asdict() for model in models]}, indent=1)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text + "\n", encoding="utf-8")
        os.replace(beside, path)
    except OSError:
        pass  # a list that cannot be kept is no reason to stop anyone from working
