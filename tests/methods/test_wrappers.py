"""Stable explanation: the test of the median against scipy, sorted lists, copies that can be made again."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.networks import OBJECT, PATCH, LinearHead, card, located_model, planted_image, planted_model
from scipy.stats import binom
from skimage.filters import threshold_otsu

import napari_segxai as sx
from napari_segxai.core.progress import Passes
from napari_segxai.methods.perturbation import stable_explanation
from napari_segxai.methods.perturbation.stable_explanation import (
    channel_ranges,
    needed,
    noisy,
    order_bounds,
    read_parameters,
    tail,
    told_once,
    two_classes,
)
from napari_segxai.methods.registry import NOMINAL, find_method


def stable(wraps: str = "rise", parameters: str = "masks=20", ndim: int = 2, **params):
    return sx.explain(
        planted_model(ndim),
        planted_image(ndim),
        "object",
        "stable-explanation",
        wraps=wraps,
        parameters=parameters,
        **params,
    )


@pytest.mark.parametrize("count", [2, 5, 6, 10, 11, 30])
def test_tail_and_the_number_needed_equal_scipy(count):
    for least in range(count + 2):
        assert tail(count, least) == pytest.approx(binom.sf(least - 1, count, 0.5), rel=1e-12)
    for alpha in (0.5, 0.05, 0.01):
        c = needed(count, alpha)
        if c is None:
            assert binom.sf(count - 1, count, 0.5) > alpha
        else:
            assert binom.sf(c - 1, count, 0.5) <= alpha < binom.sf(c - 2, count, 0.5)


@pytest.mark.parametrize("count", [2, 3, 5, 6, 10, 11, 30, 101])
@pytest.mark.parametrize("alpha", [0.5, 0.05, 0.01])
def test_the_bounds_are_the_ranks_that_scipy_gives(count, alpha):
    first, last, confidence = order_bounds(count, alpha)
    assert last == count + 1 - first
    assert 1 <= first <= last
    # X(k) lies above the median when fewer than k values lie below it.
    assert confidence == pytest.approx(1 - 2 * binom.cdf(first - 1, count, 0.5))
    if confidence >= 1 - alpha:  # and the next pair of ranks would be too narrow, or there is none
        assert first + 1 > count - first or binom.cdf(first, count, 0.5) > alpha / 2
    else:
        assert first == 1


def test_the_bounds_enclose_the_median_as_often_as_they_say():
    rng = np.random.default_rng(0)
    first, last, confidence = order_bounds(10, 0.05)
    draws = np.sort(
        rng.exponential(size=(20_000, 10)), 1
    )  # skewed: nothing is assumed about the distribution
    inside = (draws[:, first - 1] <= math.log(2)) & (draws[:, last - 1] >= math.log(2))
    assert inside.mean() == pytest.approx(confidence, abs=0.005)


@pytest.mark.parametrize("chunk", [None, 7])
def test_two_classes_splits_as_a_search_over_all_splits_does(chunk, monkeypatch):
    if chunk is not None:  # values are looked at in several parts
        monkeypatch.setattr(stable_explanation, "CHUNK", chunk)
    rng = np.random.default_rng(1)
    for _ in range(5):
        values = np.sort(np.concatenate([rng.normal(0, 1, 30), rng.normal(4, 0.5, 20)]))
        within = [values[:k].var() * k + values[k:].var() * (50 - k) for k in range(1, 50)]
        k = int(np.argmin(within)) + 1
        assert two_classes(torch.from_numpy(values)) == pytest.approx((values[k - 1] + values[k]) / 2)
    assert two_classes(torch.full((4,), 2.0)) == 2
    assert two_classes(torch.tensor([0.0, 0, 0, 1, 1])) == 0.5
    many = np.concatenate([rng.normal(0, 1, 5000), rng.normal(5, 1, 3000)])
    assert two_classes(torch.from_numpy(many)) == pytest.approx(threshold_otsu(many, nbins=2000), abs=0.05)


def test_everything_written_out_with_the_method_run_on_each_copy():
    copies = 7
    model, image = sx.load_model(LinearHead(), card=card()), planted_image()
    target = sx.Target("object", region="image")  # M does not depend on the copy
    ex = sx.explain(
        model,
        image,
        target,
        "stable-explanation",
        wraps="seg-hires-grad-cam",
        parameters="layer=features.0",
        copies=copies,
        level=0.3,
        seed=4,
    )
    x = torch.from_numpy(image.array)[None, None]
    maps = []
    for number in range(copies):
        copy = sx.Image(noisy(x, *channel_ranges(x), "uniform", 0.3, 4, number)[0, 0].numpy())
        maps.append(sx.explain(model, copy, target, "seg-hires-grad-cam", layer="features.0").map)
    maps = np.sort(np.stack(maps), 0)
    k = int(binom.ppf(0.025, copies, 0.5))  # the largest k with P(B < k) <= alpha / 2
    assert (ex.record.results["rank_lower"], ex.record.results["rank_upper"]) == (k, copies + 1 - k)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    close(ex.maps["lower_bound"], maps[k - 1])
    close(ex.maps["upper_bound"], maps[copies - k])
    close(ex.map, maps[k - 1 : copies + 1 - k].mean(0))
    assert ex.record.passes == {"forward": copies + 1, "backward": copies}


def test_significance_written_out():
    copies = 8
    ex = stable(copies=copies, level=0.3, threshold=0.4)
    maps = np.stack(
        [
            stable_copy(number, level=0.3)  # the same masks, another copy
            for number in range(copies)
        ]
    )
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    scaled = (maps - low) / (high - low)
    above = (scaled > 0.4).sum(0)
    c = ex.record.results["needed"]
    assert binom.sf(c - 1, copies, 0.5) <= 0.05 < binom.sf(c - 2, copies, 0.5)
    undecided = np.abs(scaled - 0.4).min(0) < 1e-5  # rounding
    for name, expected in (("significant", above >= c), ("insignificant", copies - above >= c)):
        assert expected.any()
        np.testing.assert_array_equal(ex.masks[name][~undecided], expected[~undecided])
    assert not (ex.masks["significant"] & ex.masks["insignificant"]).any()
    np.testing.assert_allclose(ex.map, np.sort(maps, 0)[0:8].mean(0), rtol=1e-4)  # ranks 1 to 8


def stable_copy(number: int, level: float) -> np.ndarray:
    """RISE on one noisy copy, for the pixels of the original prediction."""
    image, model = planted_image(), planted_model()
    x = torch.from_numpy(image.array)[None, None]
    copy = sx.Image(noisy(x, *channel_ranges(x), "uniform", level, 0, number)[0, 0].numpy())
    region = model.predict(image) == 1
    return sx.explain(model, copy, sx.Target("object", region=region), "rise", masks=20).map


@pytest.mark.parametrize("ndim", [2, 3])
def test_planted_reasons_are_significant_and_nothing_else_is(ndim):
    ex = sx.explain(
        located_model(ndim),
        planted_image(ndim),
        "object",
        "stable-explanation",
        wraps="seg-hires-grad-cam",
        parameters="layer=look",
        threshold=0.1,
    )
    expected = np.zeros(ex.map.shape, bool)
    for reason in (PATCH, OBJECT):
        expected[(..., *reason)] = True
    np.testing.assert_array_equal(ex.masks["significant"], expected)
    np.testing.assert_array_equal(ex.masks["insignificant"], ~expected)
    assert (ex.maps["lower_bound"][expected] > 0).all()
    assert (ex.maps["lower_bound"] <= ex.map).all()
    assert (ex.map <= ex.maps["upper_bound"]).all()


@pytest.mark.parametrize("noise", ["uniform", "normal", "laplace", "darken"])
def test_noise_has_the_size_it_says(noise):
    x = torch.zeros(1, 2, 200, 200)
    x[:, 0, 0, 0], x[:, 1] = 4, 10
    x[:, 1, 0, 0] = 12  # ranges 4 and 2
    added = noisy(x, *channel_ranges(x), noise, 0.1, 0, 0) - x
    if noise == "darken":
        assert not added[(x == 0) | (x == 10)].any()  # the minimum cannot become darker
        assert -0.4 <= added[0, 0, 0, 0] <= 0
        return
    for channel, span in ((0, 4), (1, 2)):
        deviation = {"uniform": 0.1 / math.sqrt(3)}.get(noise, 0.1) * span
        assert float(added[0, channel].std()) == pytest.approx(deviation, rel=0.03)
        assert float(added[0, channel].mean()) == pytest.approx(0, abs=0.02 * span)
    if noise == "uniform":
        assert float(added[0, 0].abs().max()) <= 0.4 + 1e-6
    assert not torch.equal(added, noisy(x, *channel_ranges(x), noise, 0.1, 0, 1) - x)
    assert torch.equal(added, noisy(x, *channel_ranges(x), noise, 0.1, 0, 0) - x)


def test_a_seed_repeats_bit_for_bit_and_another_differs():
    first, again, other = stable(copies=3, seed=1), stable(copies=3, seed=1), stable(copies=3, seed=2)
    np.testing.assert_array_equal(first.map, again.map)
    assert not np.array_equal(first.map, other.map)


def test_too_few_copies_are_told():
    ex = stable(copies=3)
    assert any("too few for bounds" in warning for warning in ex.record.warnings)
    assert any("nothing is significant" in warning for warning in ex.record.warnings)
    assert not ex.masks["significant"].any()
    assert ex.record.results["needed"] is None
    assert ex.record.results["confidence"] == pytest.approx(0.75)


def test_noise_that_destroys_the_prediction_is_told():
    ex = stable(copies=2, level=1.0, noise="normal")
    assert ex.record.results["dice_of_copies"] < 0.9
    assert any("changes the prediction" in warning for warning in ex.record.warnings)


def test_passes_are_those_of_the_wrapped_method_times_the_copies():
    found = find_method("stable-explanation")
    for wraps in ("rise", "misure", "seg-grad-cam"):
        inner = find_method(wraps)
        alone = inner.passes(inner.options(), NOMINAL)
        planned = found.passes(found.make_options({"wraps": wraps, "copies": 4}), NOMINAL)
        assert planned == alone * 4 + Passes(1)


def test_what_every_copy_warns_of_is_told_once():
    ex = stable("misure", "iterations=2, lr=0.001, kernel=3", copies=2)
    assert len(ex.record.warnings) == len(set(ex.record.warnings))


def test_warnings_of_other_layers_are_not_taken_for_those_of_another_copy():
    cancel = [f"network layer {name} works in windows of 4 cells." for name in ("up1", "up2", "0", "1")]
    copies = [[*cancel, "a Dice of 0.31 only."], [*cancel, "a Dice of 0.48 only."], ["copy 3 of 3: nothing."]]
    assert told_once(copies) == [*cancel, "a Dice of 0.31 only.", "copy 3 of 3: nothing."]
    assert told_once([["copy 1 of 3: nothing."], ["copy 2 of 3: nothing."]]) == ["copy 1 of 3: nothing."]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"wraps": "ries"}, "no method 'ries'.*'rise'"),
        ({"wraps": "stable-explanation"}, "cannot wrap itself"),
        ({"wraps": "rise", "parameters": "mask=3"}, "no parameter 'mask'.*'masks'"),
        ({"wraps": "rise", "parameters": "masks=many"}, "whole number"),
        ({"wraps": "rise", "parameters": "masks"}, "name=value"),
        ({"wraps": "seg-grad-cam", "parameters": "layer=nowhere"}, "no network layer 'nowhere'"),
        ({"copies": 1}, "2 or more"),
    ],
)
def test_what_cannot_be_wrapped_is_told_before_the_first_pass(params, message):
    model = sx.load_model(LinearHead(), card=card())
    with pytest.raises(sx.UserError, match=message):
        sx.explain_steps(model, planted_image(), "object", "stable-explanation", **params)


def test_parameters_are_read():
    assert read_parameters("") == {}
    assert read_parameters(" layer = dec.1 ,masks=100, ") == {"layer": "dec.1", "masks": "100"}


def test_a_stopped_run_shows_what_is_there():
    job = sx.explain_steps(
        planted_model(), planted_image(), "object", "stable-explanation", wraps="rise", parameters="masks=8"
    )
    partial = None
    for step in job:
        if step.partial is not None:
            partial = step.partial()
            break
    job.close()
    assert partial.record.partial
    assert partial.record.results["copies"] == 2
    assert partial.map.any()


def test_an_empty_target_is_told():
    image = sx.Image(np.zeros((32, 32), np.float32))
    ex = sx.explain(planted_model(), image, "object", "stable-explanation")
    assert not ex.map.any()
    assert "nothing to explain" in ex.record.warnings[-1]
    assert ex.record.results == {"status": "empty"}


@pytest.mark.parametrize(
    ("wraps", "parameters"),
    [
        ("vanilla-gradient", ""),
        ("grad-pam", "pixels=4, aggregate=before ReLU"),
        ("seg-ablation-cam", "layer=features.1"),
        ("misure", "iterations=2, kernel=3"),
        ("counterfactual", "segments=8, most=1"),
        ("x-ray", "nodes=2, steps=3"),
        ("adversarial-attack", "steps=2"),
    ],
)
def test_methods_of_every_kind_can_be_wrapped(wraps, parameters):
    module = LinearHead()
    with torch.no_grad():
        module.head.bias.copy_(torch.tensor([0.0, 0.3]))
    ex = sx.explain(
        sx.load_model(module, card=card()),
        planted_image(),
        "object",
        "stable-explanation",
        wraps=wraps,
        parameters=parameters,
        copies=2,
        level=0.01,
    )
    assert ex.map.any()
    assert (ex.maps["lower_bound"] <= ex.maps["upper_bound"]).all()
