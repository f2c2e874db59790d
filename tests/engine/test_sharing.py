"""Several targets answered from the same forward passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import LinearHead, card, planted_image
from torch import nn

import napari_segxai as sx

LABELS = ["background", "a", "b", "c"]


@pytest.fixture
def model() -> sx.SegmentationModel:
    return sx.load_model(LinearHead(labels=4), card=card(labels=LABELS, grid={"size": [32, 32]}))


def targets() -> list[sx.Target]:
    return [sx.Target(label, region="image") for label in LABELS[1:]] + [sx.Target("a", region=(5, 6))]


@pytest.mark.parametrize("method", ["rise", "seg-score-cam", "seg-grad-cam", "misure"])
def test_together_gives_what_one_after_the_other_gives(model, method):
    params = {"rise": {"masks": 40}, "misure": {"iterations": 3}}.get(method, {"layer": "features.0"})
    image = planted_image()
    together = sx.explain_all(model, image, targets(), method, seed=3, **params)
    assert len(together) == 4
    for found, target in zip(together, targets(), strict=True):
        alone = sx.explain(model, image, target, method, seed=3, **params)
        np.testing.assert_array_equal(found.map, alone.map)
        assert found.record.target == alone.record.target
        assert found.record.results == alone.record.results


@pytest.mark.parametrize(
    ("method", "params", "passes"),
    [
        ("rise", {"masks": 40}, 41),
        ("kernel-shap", {"cells": 9, "samples": 30}, 33),
        ("lime", {"cells": 9, "samples": 30, "shape": "honeycomb"}, 31),
        ("seg-sobol", {"cells": 2, "designs": 4}, None),
    ],
)
def test_masks_that_do_not_depend_on_the_target_are_run_once(model, method, params, passes):
    counted = 0

    def count(module, args, out):
        nonlocal counted
        counted += len(args[0])

    model.module.register_forward_hook(count)
    alone = sx.explain(model, planted_image(), targets()[0], method, **params)
    counted = 0  # what is found out once about a network is not counted
    found = sx.explain_all(model, planted_image(), targets()[:3], method, **params)
    assert sum(ex.record.passes["forward"] for ex in found) == counted == alone.record.passes["forward"]
    assert passes in (None, counted)
    np.testing.assert_array_equal(found[0].map, alone.map)
    # a map of another target is another map
    assert not np.allclose(found[0].map, found[1].map)


def test_what_depends_on_the_target_is_not_shared(model):
    found = sx.explain_all(model, planted_image(), targets()[:2], "seg-score-cam", layer="features.0")
    assert found[0].record.passes["forward"] >= 6


def test_partial_results_of_all(model):
    steps = sx.explain_all_steps(model, planted_image(), targets()[:2], "rise", masks=400)
    partial = None
    for step in steps:
        partial = step.partial
        if step.done > 20 and partial is not None:
            break
    steps.close()
    first, second = partial()
    assert first.record.partial
    assert second.record.partial
    assert first.map.any()
    assert second.map.any()


def test_one_empty_target_does_not_spoil_the_others(model):
    corner = np.zeros((32, 32), bool)
    corner[0, 0] = True
    alone = sx.explain(model, planted_image(), "a", "rise", masks=20)
    found = sx.explain_all(model, planted_image(), ["a", "background", "b", "c"], "rise", masks=20)
    np.testing.assert_array_equal(found[0].map, alone.map)
    empty = [ex for ex in found if ex.record.results.get("status") == "empty"]
    assert all(not ex.map.any() for ex in empty)


def test_wrong_targets():
    with pytest.raises(sx.UserError, match="give a list"):
        sx.explain_all("triangle", np.zeros((8, 8)), "triangle", "rise")
    with pytest.raises(sx.UserError, match="give a list"):
        sx.explain_all("triangle", np.zeros((8, 8)), [], "rise")


class Bands(nn.Module):
    """Draws label k where the image, averaged over its surroundings, is nearest to k: all labels are drawn."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Conv2d(1, 1, 7, padding=3, bias=False)
        self.head = nn.Conv2d(1, 4, 1)
        with torch.no_grad():
            self.mean.weight.fill_(1 / 49)
            k = torch.arange(4.0)
            self.head.weight.copy_((8 * k).view(4, 1, 1, 1))
            self.head.bias.copy_(-4 * k.square())

    def forward(self, x):
        return self.head(self.mean(x))


@pytest.fixture
def bands() -> sx.SegmentationModel:
    return sx.load_model(Bands(), card=card(labels=LABELS, grid={"size": [32, 32]}))


def steps_image(turned: bool = False) -> sx.Image:
    array = np.zeros((32, 32), np.float32)
    array[2:14, 2:14], array[2:14, 18:30], array[18:30, 4:28] = 1.2, 2.1, 3.3
    return sx.Image(array[::-1].copy() if turned else array, name="turned" if turned else "steps")


def count_calls(model):
    """Sizes of the batches that go through the network while something runs."""
    batches = []
    handle = model.module.register_forward_hook(lambda module, args, out: batches.append(len(args[0])))
    return batches, handle


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("misure", {"iterations": 6, "lr": 0.15, "tau": 0.5}),
        ("grid-saliency", {"iterations": 6}),
        ("counterfactual", {"iterations": 6, "search": "gradient"}),
    ],
)
def test_gradient_steps_of_several_targets_go_through_the_network_in_one_batch(bands, method, params):
    image, chosen = steps_image(), ["a", "b", "c"]
    alone = [sx.explain(bands, image, target, method, **params) for target in chosen]
    batches, handle = count_calls(bands)
    together = sx.explain_all(bands, image, chosen, method, **params)
    handle.remove()
    drawn = [e for e in alone if e.record.results.get("status") != "empty"]
    assert max(batches) >= len(drawn) > 1
    for found, want in zip(together, alone, strict=True):
        # Adam makes steps of equal length of gradients that are nothing but rounding.
        tolerance = 0.02 if method == "counterfactual" else 1e-5
        np.testing.assert_allclose(found.map, want.map, rtol=1e-4, atol=tolerance)
        assert found.record.passes["backward"] == want.record.passes["backward"]
        assert found.record.passes["forward"] <= want.record.passes["forward"]  # stage 1 of MiSuRe is shared
        assert found.record.results.keys() == want.record.results.keys()


def test_several_images_at_once(bands):
    image = steps_image()
    other = steps_image(turned=True)
    settings = {"iterations": 5, "lr": 0.2, "tau": 0.5}
    batches, handle = count_calls(bands)
    found = sx.explain_all(bands, [image, other], ["a"], "misure", **settings)
    handle.remove()
    assert 2 in batches
    for one, shown in zip(found, [image, other], strict=True):
        alone = sx.explain(bands, shown, "a", "misure", **settings)
        assert one.record.image["sha256"] == shown.sha256
        np.testing.assert_allclose(one.map, alone.map, rtol=1e-4, atol=1e-5)
        assert one.record.results["n_dilations"] == alone.record.results["n_dilations"]
    pair = sx.explain_all(bands, [image, other], ["a", "b"], "rise", masks=30)
    assert [e.record.target["label"] for e in pair] == ["a", "b"]
    np.testing.assert_array_equal(pair[1].map, sx.explain(bands, other, "b", "rise", masks=30).map)
    with pytest.raises(sx.UserError, match="2 images and 3 targets do not pair up"):
        sx.explain_all(bands, [image, other], ["a", "b", "c"], "rise")


def test_one_optimisation_may_end_before_another(bands):
    """Settings of a sweep that run for different times share their batches as long as both go on."""
    batches, handle = count_calls(bands)
    found = sx.sweep(
        bands,
        steps_image(),
        "a",
        "misure",
        {"iterations": [3, 7]},
        metrics=["dice-explained"],
        chance=0,
        tau=0.5,
    )
    handle.remove()
    assert batches.count(2) >= 3
    for explanation, iterations in zip(found.comparison.explanations.values(), (3, 7), strict=True):
        alone = sx.explain(bands, steps_image(), "a", "misure", iterations=iterations)
        assert len(explanation.curves["pruning"]["loss"]) == iterations
        np.testing.assert_allclose(explanation.map, alone.map, rtol=1e-4, atol=1e-5)


def test_less_memory_than_the_batch_needs(bands):
    """Half the batch is tried, and what was asked for is not lost."""
    alone = sx.explain(bands, steps_image(), "a", "misure", iterations=4)

    def refuse(module, args):
        if len(args[0]) > 2 and args[0].requires_grad:
            raise torch.OutOfMemoryError("too many")

    handle = bands.module.register_forward_pre_hook(refuse)
    found = sx.explain_all(bands, steps_image(), ["a", "b", "c"], "misure", iterations=4)
    handle.remove()
    np.testing.assert_allclose(found[0].map, alone.map, rtol=1e-4, atol=1e-5)
    assert len(found[2].curves["pruning"]["loss"]) == 4


def test_slices_of_volumes_of_different_depth(bands):
    volume = np.stack([steps_image().array, steps_image().array * 0.8])
    images = [sx.Image(volume), sx.Image(volume[:1])]
    found = sx.explain_all(bands, images, ["a"], "vanilla-gradient")
    for one, image in zip(found, images, strict=True):
        alone = sx.explain(bands, image, "a", "vanilla-gradient")
        np.testing.assert_array_equal(one.map, alone.map)
        assert one.map.shape == image.spatial_shape
