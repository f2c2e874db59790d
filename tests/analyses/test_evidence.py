"""Which labels the evidence lies on: in Python, on the command line and in the dock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.networks import OBJECT, PATCH, planted_image, planted_model
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.analyses.explain.display import evidence_in_words
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.cli.app import app
from napari_segxai.datasets.resources import resource
from napari_segxai.metrics.functional.mass import mass_per_label

TRIANGLE = str(resource("sample_data/images/triangle_1.png"))


def explained(ndim: int = 2, **params) -> Explanation:
    return sx.explain(planted_model(ndim), planted_image(ndim), "object", "input-x-gradient", **params)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_planted_causes_share_the_evidence(ndim):
    """The reasons of the planted network are the object's own pixels and the patch, and it draws both."""
    found = explained(ndim)
    shares = found.mass_per_label()
    assert list(shares) == ["background", "object"]
    assert sum(shares.values()) == pytest.approx(1)
    drawn = np.zeros(found.map.shape, bool)
    drawn[(..., *OBJECT)] = drawn[(..., *PATCH)] = True  # the patch is bright, so it is drawn as well
    np.testing.assert_array_equal(found.prediction == 1, drawn)
    positive = found.map.clip(min=0).astype(np.float64)
    assert shares["object"] == pytest.approx(positive[drawn].sum() / positive.sum())
    assert shares["object"] > 0.95


def test_negative_values_do_not_count_and_labels_may_be_missing():
    found = explained()
    map = np.full(found.map.shape, -5, np.float32)
    map[0, 0], map[OBJECT[0].start, OBJECT[1].start] = 1, 3
    assert replace(found, map=map).mass_per_label() == {"background": 0.25, "object": 0.75}
    none = replace(found, map=map, prediction=found.prediction * 0)
    assert none.mass_per_label() == {"background": 1, "object": 0}
    assert replace(found, map=-np.abs(map)).mass_per_label() == {}


def test_labels_need_not_begin_at_0():
    map, labels = np.array([[1.0, 3.0], [-2.0, 4.0]]), np.array([[-1, 7], [7, 7]])
    found = mass_per_label(map, labels)
    assert {name: row["share"] for name, row in found.items()} == {"-1": 1 / 8, "7": 7 / 8}
    assert found["7"]["density"] == pytest.approx(7 / 8 * 4 / 3)
    with pytest.raises(sx.UserError, match="label -1 has no name"):
        mass_per_label(map, labels, ["ground"] * 8)


def test_in_words_the_largest_come_first():
    shares = {"background": 0.3, "brain": 0.62, "T1 eye": 0.075, "skull": 0.004, "ear": 0.001}
    assert (
        evidence_in_words(shares) == "evidence for the label: 62% on brain, 30% on background, 8% on T1 eye"
    )
    assert evidence_in_words({"background": 1, "brain": 0}) == "evidence for the label: 100% on background"
    both = evidence_in_words({"core": 0.9, "tumour": 1.0}, overlapping=True)
    assert both == "evidence for the label: 100% on tumour, 90% on core (labels overlap)"
    assert evidence_in_words({}) == ""


def test_the_command_line_says_it(tmp_path):
    asked = ["--model", "triangle", "--label", "triangle", "--method", "seg-hires-grad-cam"]
    done = CliRunner().invoke(app, ["explain", TRIANGLE, *asked, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    same = sx.explain("triangle", sx.read_image(TRIANGLE), "triangle", "seg-hires-grad-cam")
    assert f"  {evidence_in_words(same.mass_per_label())}\n" in done.stdout
    assert "% on background" in done.stdout


def test_the_dock_says_it_below_the_result(triangle_panel, run_panel):
    run_panel(triangle_panel, "seg-hires-grad-cam")
    words = evidence_in_words(triangle_panel.explanation.mass_per_label())
    assert words.startswith("evidence for the label: ")
    first, second = triangle_panel.run_bar.status.text().splitlines()[:2]
    assert first.startswith("Done in")
    assert second == f"E{words[1:]}"
