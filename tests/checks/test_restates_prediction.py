"""Maps that restate the prediction, and even ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.checks import EVERY, with_map
from helpers.networks import planted_image, planted_model

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
