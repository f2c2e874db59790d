"""A JSON file of settings beside a model's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_segxai.core.errors import UserError
from napari_segxai.io.json_files import read_json


def read_settings(path: Path) -> dict[str, Any]:
    """Return what a JSON file says.

    Raises
    ------
    UserError
        If it cannot be read, or holds something else than settings by name.
    """
    try:
        found = read_json(path)
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as settings ({error}).") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no settings by name; it is not what save_pretrained writes.")
    return found
