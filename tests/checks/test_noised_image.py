"""A little noise on the image leaves a map as it is, or does not."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.networks import planted_image, planted_model

import napari_segxai as sx
from napari_segxai.checks.noised_image import noised


def test_a_little_noise_leaves_a_gradient_and_breaks_a_fragile_map(method):
    model, image = planted_model(), planted_image()
    found = sx.explain(model, image, "object", "vanilla-gradient")
    [verdict] = sx.check(found, model, checks="noised-image")
    assert verdict.passed is True  # the network is linear, and the same pixels are asked about
    fragile = method(lambda question: (1e4 * question.input[0, 0]).sin())
    found = sx.explain(model, image, "object", fragile)
    [verdict] = sx.check(found, model, checks="noised-image")
    assert verdict.passed is False
    assert verdict.details["dice of the predictions"] > 0.9
    assert "the map is fragile" in verdict.sentence


@pytest.mark.parametrize("axis", [None, 0, 2])
def test_noise_is_measured_by_the_range_of_each_channel(axis):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 200, (60, 60)).astype(np.uint8)
    if axis is not None:
        array = np.stack([array, array // 10], axis)
    image = sx.Image(array, channel_axis=axis)
    before, after = image.channels_first().astype(float), noised(image, 0.1, 0).channels_first()
    for old, new in zip(before, after, strict=True):
        assert (new - old).std() == pytest.approx(0.1 * np.ptp(old), rel=0.05)
    np.testing.assert_array_equal(noised(image, 0.1, 0).array, noised(image, 0.1, 0).array)
    assert (noised(image, 0.1, 1).array != noised(image, 0.1, 0).array).any()
