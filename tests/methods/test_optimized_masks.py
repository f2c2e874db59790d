"""Methods that optimise a coarse mask: grid saliency and extremal perturbation."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.networks import OBJECT, PATCH, card, planted_image, planted_model
from torch import nn

import napari_segxai as sx
from napari_segxai.methods.perturbation.grid_saliency import shares

AROUND = tuple(slice(p.start - 3, p.stop + 3) for p in PATCH)


def object_region(ndim: int) -> np.ndarray:
    region = np.zeros((32, 32), bool)
    region[OBJECT] = True
    return region if ndim == 2 else np.repeat(region[None], 6, 0)


def flat(map: np.ndarray) -> np.ndarray:
    return map if map.ndim == 2 else map.mean(0)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_context_of_the_object_is_the_patch(ndim, unbiased):
    target = sx.Target("object", region=object_region(ndim))
    found = sx.explain(
        planted_model(ndim),
        planted_image(ndim),
        target,
        "grid-saliency",
        cells=16,
        unbiased=unbiased,
        baseline="zero",
    )
    map = flat(found.map)
    assert map[PATCH].mean() > 0.3
    assert not map[OBJECT].any()  # the object is not a context
    assert map[2:6, 2:6].mean() < 0.3 * map[PATCH].mean()  # nor is the decoy
    outside = map.copy()
    outside[AROUND] = 0
    assert outside.mean() < 0.1 * map[PATCH].mean()
    results = found.record.results
    on = {k: v for k, v in results.items() if k.startswith("context_on_")}
    assert sum(on.values()) == pytest.approx(1)
    assert on["context_on_object"] > 0.4  # the patch is drawn as object as well
    assert results["kept"] < 0.3
    assert len(found.curves["loss"]) == (5 if unbiased else 2)


def test_in_object_mode_the_object_is_needed_too():
    target = sx.Target("object", region=object_region(2))
    found = sx.explain(
        planted_model(), planted_image(), target, "grid-saliency", mode="object", baseline="zero"
    )
    assert found.map[OBJECT].mean() > 0.5
    assert found.map[PATCH].mean() > 0.3


class Saturated(nn.Module):
    """Draws the object everywhere while one patch is bright, so surely that there is no gradient to go by."""

    def forward(self, x):
        sure = 200 * x[(..., *PATCH)].mean((2, 3), keepdim=True) - 100
        return torch.cat([torch.zeros_like(x), sure.expand_as(x)], 1)


def test_a_mask_that_got_worse_is_not_kept():
    """Only the price of the context is felt, and all of it goes at once: the object is lost."""
    model = sx.load_model(Saturated(), card=card(grid={"size": [32, 32]}))
    target = sx.Target("object", region=object_region(2))
    asked = {"baseline": "zero", "start": 0.95, "iterations": 1, "lr": 1e4}
    found = sx.explain(model, planted_image(), target, "grid-saliency", **asked)
    assert "did not lower the loss" in found.record.warnings[0]
    np.testing.assert_allclose(np.unique(found.map.round(4)), [0, 0.95], rtol=1e-6)
    better = sx.explain(planted_model(), planted_image(), target, "grid-saliency", baseline="zero")
    loss = better.curves["loss"]["loss"]
    assert loss[-1] < loss[0]
    assert not better.record.warnings


def test_shares_of_context():
    mask = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    predicted = torch.tensor([[0, 1], [1, 2]])
    network = nn.Conv2d(1, 3, 1)
    model = sx.load_model(network, card={"name": "three", "labels": ["a", "b", "c"], "spatial_dims": 2})
    question = SimpleNamespace(
        model=model, logits=nn.functional.one_hot(predicted, 3).movedim(-1, 0)[None].float()
    )
    assert shares(mask, question) == {
        "context_on_a": 0.25,
        "context_on_b": 0.25,
        "context_on_c": 0.5,
    }
    assert shares(0 * mask, question) == {}


@pytest.mark.parametrize("mode", ["preserve", "delete"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_smallest_mask_holds_the_causes(ndim, mode):
    found = sx.explain(
        planted_model(ndim),
        planted_image(ndim),
        "object",
        "extremal-perturbation",
        areas="0.05 0.2, 0.4",
        mode=mode,
        baseline="zero",
        cells=16,
    )
    map, small = flat(found.map), flat(found.masks["smallest_mask"].astype(float))
    rest = np.ones((32, 32), bool)
    rest[AROUND] = False
    rest[tuple(slice(p.start - 3, p.stop + 3) for p in OBJECT)] = False
    if mode == "preserve":  # both are needed
        assert found.record.results["smallest_area"] in (0.2, 0.4)
        assert small[PATCH].mean() > 0.6
        assert small[OBJECT].mean() > 0.6
    else:  # without the patch nothing is drawn: a small mask is enough, and the patch the best place
        assert found.record.results["smallest_area"] == 0.05
        assert map[PATCH].mean() > 0.4
    assert map[rest].mean() < 0.5 * map[PATCH].mean()
    scores = found.curves["area"]["score"]
    assert scores == sorted(scores, reverse=mode == "delete")
    for area in ("0.05", "0.2", "0.4"):
        assert flat(found.maps[f"mask_{area}"]).mean() == pytest.approx(float(area), abs=0.06)


def test_areas_are_shares():
    for areas in ("", "0.1, x", "0.2 1.5", "0"):
        with pytest.raises(sx.UserError, match="numbers between 0 and 1"):
            sx.explain(planted_model(), planted_image(), "object", "extremal-perturbation", areas=areas)


def test_areas_that_are_searched_side_by_side_are_those_searched_alone():
    """And go through the network in one batch."""
    model, sizes = planted_model(), []
    model.module.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    params = {"iterations": 10, "cells": 8}
    both = sx.explain(model, planted_image(), "object", "extremal-perturbation", areas="0.1, 0.3", **params)
    assert sizes.count(2) >= 9
    for area in (0.1, 0.3):
        alone = sx.explain(
            model, planted_image(), "object", "extremal-perturbation", areas=str(area), **params
        )
        np.testing.assert_allclose(both.maps[f"mask_{area:g}"], alone.maps[f"mask_{area:g}"], atol=1e-3)
        assert alone.record.passes["backward"] == 10
    assert both.record.passes["backward"] == 20
