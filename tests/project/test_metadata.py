"""What the project says of itself: the same name, version and licence wherever they stand."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml
from npe2 import PluginManifest

import napari_segxai as sx

ROOT = Path(sx.__file__).parents[1]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_citation_names_this_version_and_its_licence():
    citation, own = yaml.safe_load((ROOT / "CITATION.cff").read_text()), project()
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == own["version"] == sx.__version__
    assert citation["license"] == own["license"]
    assert citation["authors"] == own["authors"]
    assert {"message", "title"} <= set(citation)
    for paper in citation["references"]:
        assert {"type", "title", "authors"} <= set(paper)


def test_the_manifest_has_categories_that_napari_knows():
    manifest = PluginManifest.from_file(ROOT / "napari.yaml")
    assert {category.value for category in manifest.categories} == {
        "Measurement",
        "Segmentation",
        "Visualization",
    }
    assert "napari" in project()["keywords"]
