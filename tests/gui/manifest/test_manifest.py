"""The manifest at the top level of the repository."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManifest

from napari_segxai.checks.registry import all_checks
from napari_segxai.core.options import parameters
from napari_segxai.datasets.resources import resource
from napari_segxai.methods.registry import QUESTIONS, START_HERE, all_methods, find_method
from napari_segxai.metrics.evaluation import Options
from napari_segxai.metrics.functional.localization import f_score, iou, localization_error, recall
from napari_segxai.metrics.functional.thresholding import boxed, components
from napari_segxai.metrics.registry import all_metrics


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution("napari-segxai")


def test_every_command_can_be_imported(manifest):
    manifest.validate_imports()
    assert manifest.name == "napari-segxai"


def test_it_offers_what_the_readme_says(manifest):
    widgets = {widget.display_name for widget in manifest.contributions.widgets}
    assert {
        "Explain",
        "Information flow",
        "Compare and evaluate",
        "Sweep parameters",
        "Cohort",
        "Concepts",
    } <= widgets
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
        assert listed["question"] in QUESTIONS
        assert len(method.doc) > 300, "the page behind the ? button"
        assert set(listed["spatial_dims"]) <= {2, 3}
        for parameter in listed["parameters"]:
            assert parameter["help"]
        for name in method.presets:
            method.make_options({"preset": name})


def test_every_question_has_methods_and_a_few_are_for_a_start():
    assert {method.question for method in all_methods()} == set(QUESTIONS)
    assert 2 <= len(START_HERE) <= 3
    assert all(find_method(name).name == name for name in START_HERE)


@pytest.fixture
def script(monkeypatch):
    """Import a script by name."""
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "scripts")
    return importlib.import_module


@pytest.mark.parametrize("what", ["methods", "metrics", "trust"])
def test_the_pages_are_up_to_date(script, what):
    module = script(f"{what}_page")
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run make pages"


def test_the_page_of_metrics_tells_which_options_a_metric_reads(script):
    read = script("metrics_page").options_read()
    assert list(read) == [metric.name for metric in all_metrics()]
    assert read["ips"] == []
    assert read["saliency-ratio"] == ["binarize"]
    assert read["insertion-dice"] == ["steps", "insertion_canvas"]
    assert read["box-accuracy"] == ["components", "tau", "sigma"]
    assert read["boundary-share"] == ["boundary"]
    assert {name for names in read.values() for name in names} == {p.name for p in parameters(Options)}


def test_what_the_page_of_metrics_says_of_boxes_and_overlap_holds():
    mask = np.zeros((9, 9), bool)
    mask[3, 3] = mask[4, 4] = mask[5, 5] = True  # they touch at corners
    assert boxed(components(mask)).sum() == 9
    a, b = np.arange(10) < 6, np.arange(10) > 3
    assert iou(a, b) == 0.2
    assert recall(a, b) == pytest.approx(1 / 3)
    assert f_score(a, b) == pytest.approx(2 * 0.2 / 1.2)
    assert 1 - recall(a, b) <= localization_error(a, b)


def test_every_check_says_which_number_is_held_against_which_threshold():
    for check in all_checks():
        assert "the number is " in " ".join(check.doc.lower().split())
        assert any(parameter.name == "threshold" for parameter in check.parameters)
