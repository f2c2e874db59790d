"""What the network draws where the image is hidden."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import OBJECT, card, planted_image, planted_model
from torch import nn

import napari_segxai as sx


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_network_that_draws_on_an_empty_image_is_warned_about(ndim):
    class Inverted(nn.Module):
        """Draws what is dark."""

        def forward(self, x):
            return torch.cat([torch.zeros_like(x), 10 - 20 * x], 1)

    image = planted_image(ndim)
    model = sx.load_model(Inverted(), card=card(ndim))
    found = sx.explain(model, image, "object", "vanilla-gradient")
    [verdict] = sx.check(found, model, checks="masked-input")
    assert verdict.passed is False
    assert verdict.number == pytest.approx(image.array.size / (found.prediction == 1).sum())
    model = planted_model(ndim)
    found = sx.explain(model, image, "object", "vanilla-gradient")
    [verdict] = sx.check(found, model, checks="masked-input")
    assert (verdict.passed, verdict.number) == (True, 0.0)


def test_a_network_that_knows_nothing_of_half_an_image_is_warned_about():
    class Unsure(nn.Module):
        """Draws what is bright; the more is hidden, the less it knows."""

        def forward(self, x):
            known = (x.flatten(1).mean(1) > 0.19).float().view(-1, 1, 1, 1)
            logit = 20 * x - 10
            return torch.cat([torch.zeros_like(x), logit * known - 0.01], 1)

    model = sx.load_model(Unsure(), card=card())
    array = np.full((32, 32), 0.2, np.float32)
    array[OBJECT] = 1
    found = sx.explain(model, sx.Image(array), "object", "vanilla-gradient")
    [verdict] = sx.check(found, model, checks={"masked-input": {"baseline": 0.2}})
    assert verdict.passed is True  # half of the ground stays as it was
    [verdict] = sx.check(found, model, checks={"masked-input": {"baseline": "zero"}})
    assert verdict.number == 0
    assert verdict.passed is False
    assert verdict.details["uncertainty when half is hidden"] > 0.9
    assert verdict.details["uncertainty of the image"] < 0.1


class Scales(nn.Module):
    """Divides by the deviation of its input, which a hidden image has not; no module has a name."""

    def forward(self, x):
        z = (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True)
        return torch.cat([torch.zeros_like(z), 5 * z - 5], 1)


def test_a_network_that_cannot_answer_on_the_baseline_is_warned_about():
    model, image = sx.load_model(Scales(), card=card()), planted_image()
    found = sx.explain(model, image, "object", "vanilla-gradient")
    [verdict] = sx.check(found, model, checks="masked-input")
    assert (verdict.passed, verdict.number) == (False, None)
    assert verdict.sentence.startswith(
        "The network returns values that are not finite on the baseline alone (background)"
    )


def test_a_network_without_named_layers_is_checked_by_the_other_methods():
    model, image = sx.load_model(Scales(), card=card()), planted_image()
    found = sx.explain(model, image, "object", "vanilla-gradient")
    [verdict] = sx.check(found, model, checks="methods-agree")
    assert set(verdict.details) == {"input-x-gradient", "smooth-grad"}


def test_what_any_missing_half_does_is_not_held_against_hiding():
    class Crowded(nn.Module):
        """Draws what is bright, and is unsure of everything where its bright pixels no longer form one square."""

        def forward(self, x):
            bright = (x > 0.5).float()
            whole = (bright[..., OBJECT[0], OBJECT[1]].flatten(1).mean(1) > 0.99).float().view(-1, 1, 1, 1)
            logit = (20 * x - 10) * whole - 0.01
            return torch.cat([torch.zeros_like(x), logit], 1)

    model, image = sx.load_model(Crowded(), card=card()), planted_image()
    found = sx.explain(model, image, "object", "vanilla-gradient")
    [verdict] = sx.check(found, model, checks="masked-input")
    details = verdict.details
    assert details["uncertainty when half is hidden"] - details["uncertainty of the image"] > 0.5
    assert details["uncertainty when half is mixed"] == pytest.approx(
        details["uncertainty when half is hidden"], abs=0.05
    )
    assert verdict.passed is True
    assert f"{details['uncertainty when half is mixed']:.2f} when other blocks" in verdict.sentence
