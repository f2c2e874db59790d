"""DeepDream on networks that hang on one feature."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.networks import LinearHead, card, conv
from helpers.questions import Function

import napari_segxai as sx
from napari_segxai.gui.viewer.legend import legend
from napari_segxai.metrics.functional.region_features import intensity_features, sphericity

TEXTURE = ("deviation", "gradient", "entropy", "contrast")


def noise(*shape: int) -> sx.Image:
    return sx.Image(np.random.default_rng(3).uniform(0, 1, shape).astype(np.float32))


def dream(function, image: sx.Image, **params) -> sx.Explanation:
    model = sx.load_model(Function(function), card=card())
    return sx.explain(model, image, sx.Target("object", region="image"), "deep-dream", beyond=100, **params)


def test_a_network_of_the_mean_raises_the_mean_and_leaves_the_texture():
    image = noise(12, 14)
    found = dream(lambda x: x.mean((1, 2)), image, steps=6, step=0.02, frames=3)
    results, span = found.record.results, float(np.ptp(image.array))
    assert results["mean"] == pytest.approx(6 * 0.02 * span, rel=1e-4)  # every pixel goes up alike
    for name in TEXTURE:
        assert results[name] == pytest.approx(0, abs=1e-5), name
    assert results["answer"] == (
        "On the way up to object: mean rises; a random path of equal length does less of it, or the opposite."
    )
    assert abs(results["mean random"]) < 0.3 * results["mean"]
    np.testing.assert_allclose(found.map, 6 * 0.02 * span, rtol=1e-4)
    np.testing.assert_allclose(found.series["dream"][-1] - image.array, found.map, atol=1e-6)
    assert found.curves["frames"]["step"] == [0, 2, 4, 6]  # the image itself, and three of the path
    assert len(found.series["dream"]) == 4
    assert found.curves["dream"]["score"] == sorted(found.curves["dream"]["score"])
    lengths = {name: np.abs(np.diff(found.curves[name]["step"])).sum() for name in ("dream", "random")}
    assert lengths == {"dream": 6, "random": 6}


def test_a_network_of_contrast_raises_the_contrast_and_leaves_the_mean():
    found = dream(
        lambda x: (x[:, :, 1:] - x[:, :, :-1]).square().mean((1, 2)), noise(12, 14), steps=6, step=0.05
    )
    results = found.record.results
    assert results["contrast"] > 1.25 * results["contrast random"] > 0
    assert abs(results["mean"]) < 1e-4
    assert "contrast" in results["answer"]
    assert "mean" not in results["answer"]


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_object_appears_where_it_was_not_drawn(ndim):
    network = conv(ndim)(1, 2, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([0.0, 1.0]).view(2, 1, *(1,) * ndim))
        network.bias.copy_(torch.tensor([0.0, -0.8]))
    shape = (12,) * ndim
    array = np.random.default_rng(0).uniform(0, 0.3, shape).astype(np.float32)
    array[(0,) * ndim] = 1  # the range
    region = np.zeros(shape, bool)
    region[(slice(3, 9),) * ndim] = True
    model = sx.load_model(network, card=card(ndim))
    target = sx.Target("object", region=region)
    found = sx.explain(model, sx.Image(array), target, "deep-dream", steps=12, step=0.1, frames=2)
    size = found.curves["dream"]["size"]
    assert size[0] == 1
    assert size[-1] == 1 + region.sum()
    np.testing.assert_array_equal(found.masks["prediction_after"] & region, region)
    assert found.map[~region].any() == False  # noqa: E712  (the score of M hangs on M alone)
    assert found.series["dream"].max() <= 1  # within the range of the image
    assert found.charts[0].kind == "bars"
    assert found.evidence() == ""  # a change is none
    assert "for the label" not in legend(found)
    assert any("size" in chart.y for chart in found.charts)


def test_what_there_is_of_a_path_can_be_shown_at_every_step_of_every_slice():
    volume = sx.Image(np.random.default_rng(0).normal(size=(2, 8, 8)).astype(np.float32))
    model = sx.load_model(Function(lambda x: x.mean((1, 2))), card=card())
    job = sx.explain_steps(
        model, volume, sx.Target("object", region="image"), "deep-dream", steps=2, frames=2
    )
    lengths, found = [], None

    def watched():
        nonlocal found
        found = yield from job

    for step in watched():
        if step.partial is not None:
            lengths.append(len(step.partial().series.get("dream", ())))
    assert lengths == sorted(lengths)
    assert lengths[-1] == 3
    assert found.series["dream"].shape == (3, 2, 8, 8)
    assert found.series["dream"].any((2, 3)).all()
    names = ("dream", "random", "frames")
    assert set(found.curves) == {f"slice {k}: {name}" for k in range(2) for name in names}


def test_a_channel_that_is_not_there_is_refused_before_the_work():
    model = sx.load_model(LinearHead(), card=card())
    with pytest.raises(sx.UserError, match="channel is 1, and the image has 1"):
        sx.explain(model, noise(16, 16), "object", "deep-dream", channel=1)


def test_features_of_a_region_in_closed_form():
    ramp = np.tile(np.arange(6.0), (5, 1))
    region = np.zeros(ramp.shape, bool)
    region[1:4, 1:5] = True
    found = intensity_features(ramp, region, 6.0)
    assert found["mean"] == 2.5
    assert found["deviation"] == pytest.approx(np.std([1, 2, 3, 4]))
    assert found["gradient"] == 1
    assert found["entropy"] == 2  # four values, equally often
    assert found["contrast"] == pytest.approx(9 / 17)  # 9 pairs across differ by 1, 8 down by nothing
    one = np.zeros_like(region)
    one[2, 2] = True
    assert math.isnan(intensity_features(ramp, one, 6.0)["contrast"])


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_ball_is_round_and_a_bar_is_not(ndim):
    axes = np.meshgrid(*(np.arange(31.0),) * ndim, indexing="ij")
    ball = sum((axis - 15) ** 2 for axis in axes) <= 100
    assert sphericity(ball, (1.0,) * ndim) == pytest.approx(1, abs=0.03)
    bar = (np.abs(axes[0] - 15) <= 12) & (sum((axis - 15) ** 2 for axis in axes[1:]) <= 4)
    assert sphericity(bar, (1.0,) * ndim) < 0.75
    assert math.isnan(sphericity(ball & ~ball, (1.0,) * ndim))
