"""Maps that restate the prediction, and even ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.checks import EVERY, with_map
from helpers.networks import PATCH, planted_image, planted_model

import napari_segxai as sx


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_map_that_restates_the_prediction_is_warned_about(ndim):
    model, image = planted_model(ndim), planted_image(ndim)
    found = sx.explain(model, image, "object", "vanilla-gradient")
    drawn = found.prediction == 1
    [verdict] = sx.check(with_map(found, drawn), model, checks="restates-prediction")
    assert (verdict.passed, verdict.number) == (False, 1.0)
    [inside] = sx.check(with_map(found, drawn & (np.arange(32) < 8)), model, checks="restates-prediction")
    assert inside.passed is False
    assert inside.number < 0.8
    assert "inside the prediction" in inside.sentence
    [other] = sx.check(with_map(found, ~drawn), model, checks="restates-prediction")
    assert (other.passed, other.number) == (True, 0.0)
    [none] = sx.check(with_map(found, -1.0 * drawn), model, checks="restates-prediction")
    assert (none.passed, none.number) == (None, None)


def test_what_is_strong_counts_and_what_is_weak_does_not():
    model, image = planted_model(), planted_image()
    found = sx.explain(model, image, "object", "vanilla-gradient")
    drawn = found.prediction == 1
    for weak, number in ((0.49, 1.0), (0.51, 2 * drawn.sum() / (drawn.size + drawn.sum()))):
        [verdict] = sx.check(with_map(found, np.where(drawn, 1, weak)), model, checks="restates-prediction")
        assert verdict.details["dice with the label"] == pytest.approx(number)


@pytest.mark.parametrize("kind", ["component", "box", "drawn"])
def test_a_map_that_restates_one_object_of_several_is_warned_about(kind):
    """Two objects are drawn; the map is one of them, which was asked about."""
    model, image = planted_model(), planted_image()
    mask = np.zeros((32, 32), bool)
    mask[PATCH] = True
    region = {"component": sx.Component((5, 21)), "box": sx.Box((4, 20), (9, 25)), "drawn": mask}[kind]
    target = sx.Target("object", region)
    found = sx.explain(model, image, target, "vanilla-gradient")
    [verdict] = sx.check(with_map(found, mask), model, target, "restates-prediction")
    assert (verdict.passed, verdict.number) == (False, 1.0)
    assert verdict.details["dice with the object"] == 1
    assert verdict.details["dice with the label"] == pytest.approx(
        2 * mask.sum() / (mask.sum() + (found.prediction == 1).sum())
    )


def test_where_the_label_fills_the_image_nothing_is_held_against_a_map():
    model, array = planted_model(), np.ones((32, 32), np.float32)
    array[:2, :2] = 0
    found = sx.explain(model, sx.Image(array), "object", "vanilla-gradient")
    drawn = found.prediction == 1
    assert drawn.mean() > 0.98
    even = np.random.default_rng(0).uniform(0.8, 1, drawn.shape)
    [verdict] = sx.check(with_map(found, even), model, checks="restates-prediction")
    assert (verdict.passed, verdict.number) == (None, None)
    assert "random maps" in verdict.sentence
    assert verdict.details["dice of random maps"] > 0.98


@pytest.mark.parametrize("ndim", [2, 3])
def test_of_an_even_map_no_check_says_that_it_passed(method, ndim):
    model, image = planted_model(ndim), planted_image(ndim)
    found = sx.explain(model, image, "object", method(lambda question: torch.ones(question.grid)))
    asked = [name for name in EVERY if name != "masked-input"]  # which is about the network
    assert [verdict.passed for verdict in sx.check(found, model, checks=asked)] == [None] * len(asked)
