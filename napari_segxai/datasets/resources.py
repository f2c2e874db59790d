"""Files that are installed beside the plugin manifest: the manifest itself and the sample data."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

PACKAGE = "napari_segxai_resources"


def resource(name: str) -> Path:
    """Return the path of an installed file or folder, e.g. ``resource("sample_data")``.

    The search goes the way napari finds the manifest: `importlib.resources` cannot read this
    namespace package in an editable install.

    Raises
    ------
    FileNotFoundError
        If the installation lacks the file.
    """
    spec = find_spec(PACKAGE)
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location) / name
        if path.exists():
            return path
    raise FileNotFoundError(f"{name!r} is missing from this installation of napari-segxai.")
