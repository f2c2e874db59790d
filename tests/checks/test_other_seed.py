"""Another seed: many random masks give the same map, a few do not."""

from __future__ import annotations

import pytest
from helpers.networks import planted_image, planted_model

import napari_segxai as sx
from napari_segxai.core.correlation import rank_correlation


def test_another_seed_changes_few_random_masks_and_no_gradient():
    model, image = planted_model(), planted_image()
    found = sx.explain(model, image, "object", "rise", masks=20)
    [verdict] = sx.check(found, model, checks="other-seed")
    assert verdict.passed is False
    other = sx.explain(model, image, "object", "rise", masks=20, seed=1)
    assert verdict.number == pytest.approx(rank_correlation(found.map, other.map))
    found = sx.explain(model, image, "object", "vanilla-gradient")
    [verdict] = sx.check(found, model, checks={"other-seed": {"seeds": 2}})
    assert verdict.passed is True
    assert verdict.number == pytest.approx(1)
    assert set(verdict.details) == {"seed 1", "seed 2"}
