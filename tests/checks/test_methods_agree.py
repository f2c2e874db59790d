"""Agreement with other methods: medians of rank correlations, beyond what random maps reach."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.checks import deep_model, whole, with_map
from helpers.networks import planted_image
from scipy.stats import spearmanr

import napari_segxai as sx


def test_agreement_is_the_median_of_rank_correlations():
    model, image = deep_model(), planted_image()
    found = sx.explain(model, image, whole(), "seg-grad-cam", layer="first.2")
    [verdict] = sx.check(found, model, checks="methods-agree")
    others = {
        "seg-hires-grad-cam": {"layer": "first.2"},  # the same network layer
        "input-x-gradient": {},
        "smooth-grad": {},
    }
    by_hand = {
        name: spearmanr(found.map, sx.explain(model, image, whole(), name, **params).map, axis=None)[0]
        for name, params in others.items()
    }
    assert dict(verdict.details) == pytest.approx(by_hand, abs=1e-3)
    assert verdict.number == pytest.approx(np.median(list(by_hand.values())), abs=1e-3)
    assert verdict.passed is (verdict.number >= 0.4)
    chosen = {"methods-agree": {"methods": "seg-hires-grad-cam"}}
    one = sx.check(found, model, checks=chosen)[0]
    assert set(one.details) == {"seg-hires-grad-cam"}
    same = sx.explain(model, image, whole(), "seg-hires-grad-cam", layer="first.2")
    [agreed] = sx.check(with_map(found, same.map), model, checks=chosen)
    assert agreed.passed is True
    assert agreed.number == pytest.approx(1)
    [turned] = sx.check(with_map(found, -same.map), model, checks=chosen)
    assert turned.passed is False
    assert turned.number == pytest.approx(-1)


def test_a_correlation_that_random_maps_reach_is_no_agreement():
    from napari_segxai.metrics.functional.similarity import chance_correlation

    model, image = deep_model(), planted_image()
    ramp = np.linspace(0, 1, 32) + np.linspace(0, 1, 32)[:, None]
    assert 0.1 < chance_correlation(ramp, 0) < 0.9
    found = sx.explain(model, image, whole(), "input-x-gradient")
    asked = {"methods-agree": {"threshold": 0}, "other-seed": {}}
    same, agree = sx.check(with_map(found, ramp), model, checks=asked)
    assert agree.number < chance_correlation(ramp, 0)
    assert agree.passed is False
    assert "random maps" in agree.sentence
    assert "random maps reach" in same.sentence
