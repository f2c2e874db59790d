"""A verdict turns at its threshold: just below the number that was measured, and just above it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from helpers.checks import deep_model, whole, with_map
from helpers.networks import OBJECT, PATCH, card, planted_image, planted_model
from torch import nn

import napari_segxai as sx


class Slope(nn.Module):
    """Draws what is brighter than a third; noise moves pixels across that."""

    def forward(self, x):
        return torch.cat([torch.zeros_like(x), 20 * x - 20 / 3], 1)


@cache
def sampled():
    """A map of few random masks: another seed, noise and other methods change it."""
    model = planted_model()
    return sx.explain(model, planted_image(), "object", "rise", masks=60), model, None


@cache
def learnt():
    model = deep_model()
    return sx.explain(model, planted_image(), whole(), "input-x-gradient"), model, None


@cache
def true_cause():
    model, target = planted_model(), sx.Target("object", region=sx.Component((20, 10)))
    found = sx.explain(model, planted_image(), target, "vanilla-gradient")
    cause = np.zeros(found.map.shape)
    cause[OBJECT] = cause[PATCH] = 1
    return with_map(found, cause), model, target


@cache
def beside():
    """A map that lies on the object, but a little to the side."""
    found, model, _ = sampled()
    return with_map(found, np.roll(found.prediction == 1, (2, 1), (0, 1))), model, None


@pytest.mark.parametrize(
    ("asked", "check", "high_is_good", "more"),
    [
        (sampled, "other-seed", True, {}),
        (sampled, "noised-image", True, {"noise": 0.3}),
        (sampled, "methods-agree", True, {}),
        (beside, "restates-prediction", False, {"within": 1}),
        (learnt, "randomized-network", False, {"layers": 1, "networks": 2}),
        (true_cause, "better-than-chance", True, {}),
    ],
)
def test_a_verdict_turns_at_its_threshold(asked, check, high_is_good, more):
    found, model, target = asked()

    def ask(threshold):
        [verdict] = sx.check(found, model, target, {check: {**more, "threshold": threshold}})
        return verdict

    number = ask(0.5).number
    assert 0.01 < number < 0.99
    below, above = ask(number - 0.005), ask(number + 0.005)
    assert (below.number, above.number) == (number, number)
    assert (below.passed, above.passed) == (high_is_good, not high_is_good)


@pytest.mark.parametrize(("check", "times"), [("other-seed", "seeds"), ("noised-image", "repeats")])
def test_the_worst_of_several_counts(check, times):
    found, model, _ = sampled()
    more = {"noise": 0.3} if check == "noised-image" else {}
    [verdict] = sx.check(found, model, checks={check: {**more, times: 3}})
    tried = [value for name, value in verdict.details.items() if name.startswith(("seed", "noise"))]
    assert len(set(tried)) == 3
    assert verdict.number == min(tried)


@pytest.mark.parametrize(
    ("level", "words"), [(0.02, "but not the prediction"), (0.3, "but also the prediction")]
)
def test_noise_that_changes_the_prediction_is_told(level, words):
    """What is fragile is the map, or the network: the Dice of the two predictions says which, from 0.9 on."""
    network = Slope()
    model = sx.load_model(network, card=card(grid={"size": [32, 32]}))
    found = sx.explain(model, planted_image(), "object", "rise", masks=40)
    [verdict] = sx.check(found, model, checks={"noised-image": {"noise": level, "threshold": 1}})
    assert verdict.passed is False
    kept = verdict.details["dice of the predictions"]
    assert (kept >= 0.9) if level == 0.02 else (0.5 < kept < 0.9)
    assert f"{words} (Dice {kept:.2f})" in verdict.sentence


def test_how_much_of_a_map_may_lie_inside_the_prediction():
    found, model, _ = beside()

    def passed(within):
        [verdict] = sx.check(found, model, checks={"restates-prediction": {"threshold": 1, "within": within}})
        return verdict.passed, verdict.details["share inside"]

    _, share = passed(1)
    assert (passed(share - 0.005)[0], passed(share + 0.005)[0]) == (False, True)


def test_how_far_the_uncertainty_may_rise():
    class Unsure(nn.Module):
        """Draws what is bright; where much is hidden, it is unsure of a part of the image."""

        def forward(self, x):
            lack = (0.19 - x.flatten(1).mean(1)).clamp(min=0).view(-1, 1, 1, 1)
            logit = (20 * x - 10) / (1 + 40 * lack)
            return torch.cat([torch.zeros_like(x), logit], 1)

    array = np.full((32, 32), 0.2, np.float32)
    array[OBJECT] = 1
    model = sx.load_model(Unsure(), card=card())
    found = sx.explain(model, sx.Image(array), "object", "vanilla-gradient")

    def ask(uncertainty):
        asked = {"threshold": 1, "uncertainty": uncertainty, "baseline": "zero"}
        return sx.check(found, model, checks={"masked-input": asked})[0]

    details = ask(1).details
    rise = details["uncertainty when half is hidden"] - max(
        details["uncertainty of the image"], details["uncertainty when half is mixed"]
    )
    assert 0.01 < rise < 0.5
    assert (ask(rise - 0.005).passed, ask(rise + 0.005).passed) == (False, True)
