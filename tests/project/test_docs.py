"""The pages name what is there: files, rooms, public functions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import napari_segxai

PACKAGE = Path(napari_segxai.__file__).parent
ROOT = PACKAGE.parent
PAGES = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "README.md")] + [
    ROOT / "docs" / name for name in ("architecture.md", "file_formats.md", "network_layers.md")
]
MADE = {
    "gradient_energy.py",
    "try_it.py",
    "explaining.py",
    "comparing.py",
    "centroid.py",
    "image_edge.py",
    "missed.py",
    "pixelwise.py",
    "open_in_slicer.py",
}
"""Files that CONTRIBUTING.md makes, and an export."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page):
    files = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py*")}
    for name in re.findall(r"`([\w/]+\.pyi?)`", re.sub(r"```.*?```", "", page.read_text(), flags=re.S)):
        known = (ROOT / name).exists() or any(f"/{file}".endswith(f"/{name}") for file in files)
        assert known or Path(name).name in MADE or "quick/" in name or name == "tests/test_examples.py", name
