"""The true cause is better than chance, edges, and the prediction; a random map is not."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.checks import with_map
from helpers.networks import OBJECT, PATCH, planted_image, planted_model

import napari_segxai as sx


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_true_cause_beats_chance_edges_and_the_prediction_and_a_random_map_does_not(ndim):
    model, image = planted_model(ndim), planted_image(ndim)
    at = (20, 10) if ndim == 2 else (3, 20, 10)
    target = sx.Target("object", region=sx.Component(at))
    found = sx.explain(model, image, target, "vanilla-gradient")
    cause = np.zeros(image.spatial_shape)
    cause[(..., *OBJECT)] = cause[(..., *PATCH)] = 1
    [verdict] = sx.check(with_map(found, cause), model, target, "better-than-chance")
    assert verdict.passed is True, verdict
    assert verdict.number > 0.02
    for rival in ("a random order", "a coarse random map", "an edge filter", "the prediction itself"):
        assert verdict.details[f"score of {rival}"] < verdict.details["score of the map"]
    chance = np.random.default_rng(7).random(image.spatial_shape)
    [verdict] = sx.check(with_map(found, chance), model, target, "better-than-chance")
    assert verdict.passed is False
    assert "the prediction itself" in verdict.sentence
    # the object alone is the prediction: no better than itself, though better than chance
    alone = np.zeros(image.spatial_shape)
    alone[(..., *OBJECT)] = 1
    [verdict] = sx.check(with_map(found, alone), model, target, "better-than-chance")
    assert verdict.passed is False
    assert verdict.details["score of the map"] == pytest.approx(
        verdict.details["score of the prediction itself"]
    )
