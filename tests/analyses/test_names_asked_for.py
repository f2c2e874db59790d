"""A result that is asked for what it has not answers with one sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.networks import planted_image, planted_model

import napari_segxai as sx
from napari_segxai.checks.registry import describe


@pytest.fixture(scope="module")
def found() -> sx.Comparison:
    return sx.compare(
        planted_model(),
        planted_image(),
        "object",
        [("vanilla-gradient", {})],
        metrics=["context-share"],
    )


def test_a_comparison(found):
    for ask in (found.value, found.reason, found.curve, found.chance, found.is_chance):
        with pytest.raises(sx.UserError, match=r"no map 'vanilla'; did you mean 'vanilla-gradient'"):
            ask("vanilla", "context-share")
        with pytest.raises(sx.UserError, match=r"no metric 'context-shares'; did you mean 'context-share'"):
            ask("vanilla-gradient", "context-shares")
    with pytest.raises(sx.UserError, match="no metric 'dice'"):
        found.best("dice")
    with pytest.raises(sx.UserError, match="was not measured of vanilla-gradient"):
        replace(found, rows=[]).value("vanilla-gradient", "context-share")


def test_a_sweep(found):
    sweep = sx.Sweep("vanilla-gradient", {"signed": [False]}, found)
    with pytest.raises(sx.UserError, match="no metric 'pps'"):
        sweep.values("pps")
    with pytest.raises(sx.UserError, match="tells no number 'loss'"):
        sweep.result("loss")


def test_an_explanation(found):
    with pytest.raises(sx.UserError, match=r"no label 'objects'; did you mean 'object'"):
        found.explanations["vanilla-gradient"].drawn("objects")


def test_a_flow():
    flow = sx.information_flow(planted_model(), planted_image(), ["object"])
    layer = flow.layers[0].name
    for ask in (flow.emergence, flow.emergence_margin, flow.route):
        with pytest.raises(sx.UserError, match=r"no label 'objct'; did you mean 'object'"):
            ask("objct")
    for ask in (lambda: flow.explanation("objct", layer), lambda: flow.curve("objct", "dice")):
        with pytest.raises(sx.UserError, match="no label 'objct'"):
            ask()
    with pytest.raises(sx.UserError, match="no network layer 'nowhere'"):
        flow.explanation("object", "nowhere")
    with pytest.raises(sx.UserError, match="no number 'dices'"):
        flow.curve("object", "dices")


def test_a_verdict_of_a_check_that_is_not_installed_here(qapp):
    from napari_segxai.gui.widgets.checks_box import _line

    row = {"check": "of-a-stranger", "passed": True, "sentence": "It holds.", "details": {"share": 0.5}}
    assert describe([row]) == ["pass: of-a-stranger: It holds."]
    line = _line(row)
    assert "of-a-stranger" in line.text()
    assert "share: 0.5" in line.toolTip()
