"""Intensity steps against numpy, and what one raw value becomes for the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import LinearHead, card

import napari_segxai as sx
from napari_segxai.models.card import Intensity
from napari_segxai.models.preprocessing.intensity import fit, quantiles


def values(channels: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(50, 200, (1, channels, 9, 11)).astype(np.float32)


def zscore(x):
    """Per channel, with the n - 1 of torch."""
    return (x - x.mean((2, 3), keepdims=True)) / x.std((2, 3), keepdims=True, ddof=1)


BY_HAND = {
    "clip": ((-100, 70), lambda x: np.clip(x, -100, 70)),
    "clip_percentiles": ((3, 97.5), lambda x: np.clip(x, np.percentile(x, 3), np.percentile(x, 97.5))),
    "rescale": ((-1, 3), lambda x: (x - x.min()) / (x.max() - x.min()) * 4 - 1),
    "window": ((-40, 160), lambda x: (np.clip(x, -40, 160) + 40) / 200),
    "zscore": (True, zscore),
    "standardize": ("image", lambda x: (x - x.mean((2, 3), keepdims=True)) / x.std((2, 3), keepdims=True)),
    "unit_range": (True, lambda x: (x - x.min((2, 3), keepdims=True)) / np.ptp(x, (2, 3), keepdims=True)),
    "percentile_range": (
        (1, 98),
        lambda x: (
            (x - np.percentile(x, 1, (2, 3), keepdims=True))
            / (np.percentile(x, 98, (2, 3), keepdims=True) - np.percentile(x, 1, (2, 3), keepdims=True))
        ),
    ),
    "divide": (255, lambda x: x / 255),
    "normalize": (
        {"mean": (10, 20), "std": (3, 4)},
        lambda x: (x - np.array([10, 20]).reshape(1, 2, 1, 1)) / np.array([3, 4]).reshape(1, 2, 1, 1),
    ),
    "scale_shift": ((2, -7), lambda x: 2 * x - 7),
}


def test_every_step_is_tested():
    assert set(BY_HAND) == set(Intensity.model_fields) - {"channels", "jointly", "eps"}


@pytest.mark.parametrize("kind", BY_HAND)
def test_a_step_equals_numpy(kind):
    numbers, by_hand = BY_HAND[kind]
    x = values()
    out, _ = fit([Intensity(**{kind: numbers})], torch.from_numpy(x.copy()))
    assert out.dtype == torch.float32
    np.testing.assert_allclose(out.numpy(), by_hand(x.astype(float)), rtol=1e-5, atol=1e-4)


def test_what_is_measured_jointly_and_eps():
    x = values()
    out, _ = fit([Intensity(standardize="image", jointly=True, eps=0.5)], torch.from_numpy(x.copy()))
    np.testing.assert_allclose(out.numpy(), (x - x.mean()) / (x.std() + 0.5), rtol=1e-5, atol=1e-5)
    out, _ = fit([Intensity(percentile_range=(5, 90), jointly=True, eps=0.5)], torch.from_numpy(x.copy()))
    low, high = np.percentile(x, [5, 90])
    np.testing.assert_allclose(out.numpy(), (x - low) / (high - low + 0.5), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="jointly and eps are for"):
        Intensity(zscore=True, jointly=True)


def test_a_z_score_of_what_is_not_zero_in_all_channels_together():
    x = values()
    x[x < 0] = 0
    here = x != 0
    by_hand = np.where(here, (x - x[here].mean()) / x[here].std(), x)
    out, _ = fit([Intensity(standardize="nonzero values")], torch.from_numpy(x.copy()))
    np.testing.assert_allclose(out.numpy(), by_hand, atol=1e-5)
    assert fit([Intensity(standardize="nonzero values")], torch.zeros(1, 1, 3, 3))[0].eq(0).all()


def test_one_number_of_normalise_serves_all_channels():
    out, _ = fit([Intensity(normalize={"mean": (10,), "std": (2,)})], torch.from_numpy(values()))
    np.testing.assert_allclose(out.numpy(), (values() - 10) / 2, rtol=1e-5)


def test_steps_run_in_their_order():
    x = torch.from_numpy(values())
    clip, shift = Intensity(clip=(0, 10)), Intensity(scale_shift=(1, 5))
    assert fit([clip, shift], x)[0].max() == 15
    assert fit([shift, clip], x)[0].max() == 10


@pytest.mark.parametrize("q", [0, 0.005, 1 / 3, 0.5, 0.995, 1])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_quantiles_equal_numpy(q, size):
    x = np.random.default_rng(size).normal(size=size).astype(np.float32)
    assert float(quantiles(torch.from_numpy(x), [q])[0]) == pytest.approx(np.percentile(x, 100 * q), rel=1e-5)


@pytest.mark.parametrize("kind", BY_HAND)
def test_one_raw_value_becomes_what_the_tensor_got(kind):
    numbers, _ = BY_HAND[kind]
    # A second, measuring step behind: every step has to be fitted to what the one before gave.
    fields = card(channels=["a", "b"], intensity=[{kind: numbers}, {"zscore": True}])
    model = sx.load_model(LinearHead(inputs=2), card=fields)
    image = sx.Image(values()[0], channel_axis=0)
    prepared = model.prepare(image)
    for at in [(0, 0), (3, 7), (8, 10)]:
        for channel in range(2):
            raw = image.array[channel][at]
            network = prepared.network_value(raw)
            assert network.shape == (1, 2, 1, 1)
            assert float(network[0, channel]) == pytest.approx(
                float(prepared.tensor[0, channel][at]), abs=1e-5
            )


@pytest.mark.parametrize("level", [0.0, 7.0, -1000.0])
@pytest.mark.parametrize("kind", BY_HAND)
def test_constant_images_stay_finite(kind, level):
    numbers, _ = BY_HAND[kind]
    x = torch.full((1, 2, 4, 4), level)
    out, _ = fit([Intensity(**{kind: numbers})], x)
    assert torch.isfinite(out).all()
    assert (out[0, 0] == out[0, 0, 0, 0]).all()


def test_a_single_pixel_stays_finite():
    out, _ = fit([Intensity(zscore=True), Intensity(rescale=(0, 1))], torch.full((1, 1, 1, 1), 3.0))
    assert torch.isfinite(out).all()


def test_a_step_for_some_channels_measures_and_changes_these_alone():
    x = values(3)
    steps = [Intensity(rescale=(0, 1), channels=("c", "a")), Intensity(divide=2, channels=("b",))]
    out, fitted = fit(steps, torch.from_numpy(x.copy()), ["a", "b", "c"])
    own = x[:, [0, 2]]
    np.testing.assert_allclose(out[:, [0, 2]], (own - own.min()) / (own.max() - own.min()), atol=1e-6)
    np.testing.assert_array_equal(out[:, 1], x[:, 1] / 2)
    one = torch.from_numpy(x[:, :, :1, :1].copy())
    for step in fitted:
        one = step(one)
    np.testing.assert_allclose(one, out[:, :, :1, :1], atol=1e-6)


def test_within_what_is_not_zero_holes_count_and_the_rest_stays_zero():
    x = np.zeros((1, 2, 9, 9), np.float32)
    x[0, 0, 2:7, 2:7] = values()[0, 0, :5, :5]
    x[0, 1, 2:5, 2:8] = values()[0, 1, :3, :6]
    x[0, :, 4, 4] = 0  # a hole
    inside = (x[0] != 0).any(0)
    inside[4, 4] = True
    out, (step,) = fit([Intensity(standardize="nonzero")], torch.from_numpy(x.copy()))
    for channel, raw in zip(out[0].numpy(), x[0], strict=True):
        own = raw[inside]
        np.testing.assert_allclose(channel[inside], (own - own.mean()) / own.std(), rtol=1e-5, atol=1e-6)
        assert not channel[~inside].any()
    assert not step(torch.zeros(1, 2, 1, 1)).any()  # air is what lies outside


def test_a_step_for_a_channel_that_there_is_not_is_refused():
    fields = card(channels=["a", "b"], intensity=[{"divide": 2, "channels": ["A"]}])
    with pytest.raises(sx.UserError, match=r"intensity channels names 'A'; .*'a'"):
        sx.load_model(LinearHead(inputs=2), card=fields)
