"""The manifest at the top level of the repository."""

from __future__ import annotations

import pytest
from npe2 import PluginManifest

from napari_segxai.explainers.registry import all_methods
from napari_segxai.resources import resource


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution("napari-segxai")


def test_every_command_can_be_imported(manifest):
    manifest.validate_imports()
    assert manifest.name == "napari-segxai"


def test_it_offers_what_the_readme_says(manifest):
    widgets = {widget.display_name for widget in manifest.contributions.widgets}
    assert {"Explain", "Information flow", "Compare and evaluate"} <= widgets
    samples = {sample.key for sample in manifest.contributions.sample_data}
    assert samples == {"t1_head", "mni_t1", "astronaut", "triangle"}
    patterns = {p for reader in manifest.contributions.readers for p in reader.filename_patterns}
    assert {"*.nii", "*.nii.gz", "*.hdr", "*.img", "*.mgz"} <= patterns


def test_it_is_the_file_at_the_top_level(manifest):
    assert resource("napari.yaml").read_text().startswith("name: napari-segxai")


def test_every_method_is_complete():
    for method in all_methods():
        listed = method.as_json()
        assert listed["summary"]
        assert listed["source"]
        assert len(method.doc) > 300, "the page behind the ? button"
        assert set(listed["spatial_dims"]) <= {2, 3}
        for parameter in listed["parameters"]:
            assert parameter["help"]
        for name in method.presets:
            method.make_options({"preset": name})


def test_the_page_of_methods_is_up_to_date():
    import importlib.util
    from pathlib import Path

    script = Path(__file__).parents[1] / "scripts" / "methods_page.py"
    spec = importlib.util.spec_from_file_location("methods_page", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run scripts/methods_page.py"
