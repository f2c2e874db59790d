"""A JSON file of names and values beside a model's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_segxai.core.errors import UserError
from napari_segxai.io.json_files import read_json

SAVED = "what save_pretrained writes"


def json_mapping(path: Path, wanted: str) -> dict[str, Any]:
    """Return a JSON file that holds a mapping.

    Parameters
    ----------
    path
        The file.
    wanted
        What it should be, for messages: "what nnU-Net writes".

    Raises
    ------
    UserError
        If it cannot be read, or holds something else.
    """
    try:
        found = read_json(path)
    except ValueError as error:
        raise UserError(f"{path}: cannot be read ({error}).") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no mapping; it is not {wanted}.")
    return found
